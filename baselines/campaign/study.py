"""The campaign as a study: where the files of its trainings are, and what is asked of them."""

from dataclasses import dataclass
from pathlib import Path

from baselines.campaign.methods import METHODS, SLOTS
from baselines.campaign.paper import TABLE_1
from baselines.campaign.plans import Training
from flam_train.evaluate.evaluate import Metric
from flam_train.studies.runs import Study

PROGRAM = "python -m baselines.campaign"
"""What makes the trainings, and prints what came of them."""
REPORTS = Path("baselines/results")
"""Where the reports are by default, in a folder for each plan."""


@dataclass(frozen=True, kw_only=True)
class Campaign(Study):
    """Where everything is, and how worlds are scored.

    Attributes:
        data: folder of packs and stores.
        tokenizers: folder of theirs.
        clips: held-out ones, on which worlds are scored.
        perceptual: metrics that need networks of others.
    """

    data: Path
    tokenizers: Path
    clips: int = 128
    perceptual: tuple[Metric, ...] = ("lpips",)

    @property
    def seen(self) -> Path:
        """Folder of what the network of FVD saw; worlds that share a tokenizer share much of it."""
        return self.tokenizers.with_name("seen")

    def tokenizer(self, training: Training) -> Path:
        """The folder of the tokenizer that all trainings on a data set share."""
        return self.tokenizers / f"{training.tokenizer}-{training.preset}"

    def slots(self, training: Training) -> Path:
        """The folder of the slots that PlaySlot and SlotFormer share."""
        return self.runs / f"{training.data}-{SLOTS}-{training.preset}-{training.seed}"

    def metrics(self, training: Training) -> tuple[Metric, ...]:
        """What the report of a training has to say."""
        if not training.scored:
            return ()
        method = METHODS[training.method]
        found: tuple[Metric, ...] = ("pixels", *(("rate",) if method.infers else ()))
        if training.data_set.room is not None:
            found += ("exactness", *(("dci",) if method.slotted else ()))
        in_table_1 = training.price is None and training.data in TABLE_1
        return found + tuple(metric for metric in self.perceptual if in_table_1 or metric != "fvd")

    def logs(self, training: Training) -> dict[str, Path]:
        """The folders of the logs of a training by method: of the slots that it is learned on, then its own."""
        own = self.folder(training) / "training"
        if training.method == SLOTS:
            return {SLOTS: own / "slots"}
        before = {SLOTS: self.slots(training) / "training" / "slots"} if training.on_slots else {}
        return before | {training.method: own / "world_model"}
