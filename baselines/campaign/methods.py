"""What is compared: how each method is trained at the sizes of FLAM, and on what it is scored."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from baselines.campaign.data_sets import DataSet
from baselines.genie import genie
from baselines.train import KINDS, equal_arguments
from flam_train.phases.world_model import world_model
from flam_train.presets import Preset


@dataclass(frozen=True, kw_only=True)
class Method:
    """A row of the tables.

    title: in tables; train: its function; rate: what its nats are: those of a posterior from a prior, the entropy of
    codes, of known actions, which cost nothing, or of none; slotted: whether it has slots; on_slots: whether these are
    learned before, by reconstruction.
    """

    title: str
    train: Callable[..., Path]
    rate: Literal["nats", "codes", "known", "none"]
    slotted: bool = False
    on_slots: bool = False

    @property
    def infers(self) -> bool:
        """Whether it infers actions."""
        return self.rate in ("nats", "codes")

    def arguments(self, preset: Preset, data_set: DataSet) -> dict[str, Any]:
        """The arguments of its function that make it equal to FLAM of a preset."""
        if self.train is world_model:
            return {"model": preset.world_model, "loss": preset.loss, "fit_config": preset.world_model_fit}
        found = equal_arguments(self.train, preset)
        return found | ({"model": replace(found["model"], codes=data_set.codes)} if self.train is genie else {})


METHODS = {
    "flam": Method(title="FLAM", train=world_model, rate="nats", slotted=True),
    "adaworld": Method(title="AdaWorld", train=KINDS["adaworld"], rate="nats"),
    "genie": Method(title="Genie", train=genie, rate="codes"),
    "world-model": Method(title="World Model", train=KINDS["world-model"], rate="known"),
    "playslot": Method(title="PlaySlot", train=KINDS["playslot"], rate="codes", slotted=True, on_slots=True),
    "slotformer": Method(title="SlotFormer", train=KINDS["slotformer"], rate="none", slotted=True, on_slots=True),
}
"""In the order of the paper's tables."""

SLOTS = "slots"
"""What PlaySlot and SlotFormer learn first; it has a learning rate of its own."""

LEARNING_RATES = {
    "flam": 1.6e-3,
    "adaworld": 3.2e-3,
    "genie": 3.2e-3,
    "world-model": 3.2e-3,
    SLOTS: 3.2e-3,
    "playslot": 8e-4,
    "slotformer": 3.2e-3,
}
"""Of AdamW, of Muon its multiple: for each method the one of `TRIED_RATES` whose rollouts on MultiGrid were best, or
whose objective was lowest where rollouts are no different (`python -m baselines.campaign --plan tuning`), then fixed.
The preset `paper` keeps Table 5's."""

TRIED_RATES = (8e-4, 1.6e-3, 3.2e-3)
