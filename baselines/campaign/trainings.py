"""One training from its data to its report: each part is skipped where it is done, and goes on where it was."""

import json
import platform
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from baselines.campaign.data_sets import collect_data
from baselines.campaign.methods import METHODS, SLOTS
from baselines.campaign.paper import TABLE_1
from baselines.campaign.plans import Training
from baselines.savi import FILE as SLOTS_FILE
from baselines.savi import slots
from baselines.train import equal_arguments
from flam_env.worlds.checkpoint import as_written
from flam_env.worlds.loading import load_world
from flam_env.worlds.writing import write_atomically
from flam_train.engine.locks import folder_lock
from flam_train.engine.log import log_lines
from flam_train.engine.processes import logged
from flam_train.evaluate.evaluate import Metric, evaluate
from flam_train.evaluate.report import read_report
from flam_train.phases.tokenizer import FILE as TOKENIZER_FILE
from flam_train.phases.tokenizer import tokenizer
from flam_train.studies.recipe.pieces import PieceOver, piece
from flam_train.studies.runs import Study

CPU_INFO = Path("/proc/cpuinfo")
LOOKS = 4
"""At held-out rollouts, in the course of a training that is scored; one where it is not."""
PARTS: dict[Metric, tuple[str, ...]] = {
    "pixels": ("scores",),
    "dci": ("factorization", "dci"),
    "exactness": ("factorization", "exactness"),
}
"""Where a report has a metric, if not under its name."""


@dataclass(frozen=True, kw_only=True)
class Campaign(Study):
    """Where everything is, and how worlds are scored.

    data: folder of stores and packs; tokenizers: folder of theirs; clips: held-out ones; perceptual: metrics that need
    networks of others.
    """

    data: Path
    tokenizers: Path
    clips: int = 128
    perceptual: tuple[Metric, ...] = ("lpips",)

    @property
    def seen(self) -> Path:
        """What the network of FVD saw, which all worlds that share a tokenizer have much of in common."""
        return self.tokenizers.with_name("seen")

    def tokenizer(self, training: Training) -> Path:
        """The folder of the tokenizer that all trainings on a data set share."""
        return self.tokenizers / f"{training.data}-{training.preset}"

    def slots(self, training: Training) -> Path:
        """The folder of the slots that PlaySlot and SlotFormer share."""
        return self.runs / f"{training.data}-{SLOTS}-{training.preset}-{training.seed}"

    def metrics(self, training: Training) -> tuple[Metric, ...]:
        """What a report has to say."""
        if not training.scored:
            return ()
        method = METHODS[training.method]
        found: tuple[Metric, ...] = ("pixels", *(("rate",) if method.infers else ()))
        if training.data_set.room is not None:
            found += ("exactness", *(("dci",) if method.slotted else ()))
        in_table_1 = training.price is None and training.data in TABLE_1
        return found + tuple(metric for metric in self.perceptual if in_table_1 or metric != "fvd")

    def lacking(self, training: Training) -> tuple[Metric, ...] | None:
        """The metrics that the report of a training has not; None if there is no report."""
        path = self.report(training)
        return missing_metrics(path, self.metrics(training)) if path.exists() else None

    def is_done(self, training: Training) -> bool:
        """Whether the report of a training says all that it should."""
        return self.lacking(training) == ()


def make_training(training: Training, campaign: Campaign, deadline: float) -> None:
    """Does what is left to do for a training, until its report is there or the time is over.

    What is printed, and the error that ends it, go to a log in its folder.
    """
    with logged(campaign.folder(training)):
        try:
            with piece(deadline):
                _make(training, campaign)
        except PieceOver:
            print("the time of this piece is over")


def _make(training: Training, campaign: Campaign) -> None:
    out, data = campaign.folder(training), _prepare(training, campaign)
    if training.method == SLOTS:
        _learn_slots(training, data, out)
    else:
        method, arguments = METHODS[training.method], _arguments(training)
        if method.on_slots:
            arguments["slots"] = _slots_for(training, campaign, data)
        method.train(data, out=out, evaluate_every=_looks_every(training), **arguments)
    report = _score(training, campaign, data) if training.scored else {}
    report["run"] = summary(training, campaign)
    write_atomically(campaign.report(training), json.dumps(report, indent=1).encode())


def _arguments(training: Training) -> dict[str, Any]:
    return METHODS[training.method].arguments(training.preset_for(training.method), training.data_set)


def _looks_every(training: Training) -> int:
    return -(-training.budget.steps // (LOOKS if training.scored else 1))


def _prepare(training: Training, campaign: Campaign) -> Path:
    """The data of a training, collected if need be; its tokenizer then lies in the folder, unless a pack brings it."""
    preset, out = training.data_set.preset_at(training.preset), campaign.folder(training)
    data = collect_data(campaign.data, training.data, preset.tokenizer.image_size)
    if data.is_dir() and not (out / TOKENIZER_FILE).exists():
        shared = campaign.tokenizer(training)
        with folder_lock(shared, wait=True, name=".campaign"):
            if not (shared / TOKENIZER_FILE).exists():
                tokenizer(data, out=shared, model=preset.tokenizer, fit_config=preset.tokenizer_fit)
        shutil.copy(shared / TOKENIZER_FILE, out)
    return data


def _slots_for(training: Training, campaign: Campaign, data: Path) -> Path:
    """The file of the slots of a seed, learned by whoever needs them first."""
    shared, out = campaign.slots(training), campaign.folder(training)
    with folder_lock(shared, wait=True, name=".campaign"):
        if not (shared / SLOTS_FILE).exists():
            if (out / TOKENIZER_FILE).exists():
                shutil.copy(out / TOKENIZER_FILE, shared)
            _learn_slots(training, data, shared)
    return shared / SLOTS_FILE


def _learn_slots(training: Training, data: Path, out: Path) -> None:
    arguments = equal_arguments(slots, training.preset_for(SLOTS))
    slots(data, out=out, evaluate_every=_looks_every(training), **arguments)


def _score(training: Training, campaign: Campaign, data: Path) -> dict[str, Any]:
    """The report of a world, to which metrics are added one by one; those that it has are not computed again."""
    out = campaign.folder(training)
    for metric in missing_metrics(out / "report.json", campaign.metrics(training)):
        evaluate(str(out), data, metrics=(metric,), clips=campaign.clips, seen=campaign.seen)
    return read_report(out / "report.json")


def missing_metrics(path: Path, metrics: tuple[Metric, ...]) -> tuple[Metric, ...]:
    """Those that a report file does not have, or all if there is none."""
    report = read_report(path) if path.exists() else {}

    def lacks(metric: Metric) -> bool:
        found: Any = report
        for part in PARTS.get(metric, (metric,)):
            found = found.get(part, {})
        return not found

    return tuple(filter(lacks, metrics))


def summary(training: Training, campaign: Campaign) -> dict[str, Any]:
    """What was trained, with what budget, and how it went."""
    phases = [campaign.folder(training) / "training" / ("slots" if training.method == SLOTS else "world_model")]
    if training.method in METHODS and METHODS[training.method].on_slots:
        phases.insert(0, campaign.slots(training) / "training" / "slots")
    lines = [log_lines(phase) for phase in phases]
    ends = [log[-1] for log in lines]
    return {
        "name": training.name,
        "training": asdict(training),
        "settings": settings(training),
        "parameters": _parameters(campaign.folder(training)) if training.scored else None,
        "steps": sum(end["step"] for end in ends),
        "seconds": sum(end["time"] for end in ends),
        "objective": [line["loss"] for line in lines[-1] if "loss" in line][-1],
        "machine": machine(),
        "looks": [line for line in lines[-1] if "eval/accuracy" in line or "eval/rollout_psnr" in line],
    }


def settings(training: Training) -> dict[str, Any]:
    """What decides a training, as JSON-able dicts by name; with the updates of its slots, if those are not its own."""
    before = equal_arguments(slots, training.preset_for(SLOTS))
    arguments = before if training.method == SLOTS else _arguments(training)
    if training.budget.slot_steps and training.method != SLOTS and METHODS[training.method].on_slots:
        arguments |= {"slots_fit_config": before["fit_config"]}
    return {name: as_written(config) for name, config in arguments.items()}


def machine() -> str:
    """The GPU that there is, or else the processor; and the version of torch."""
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
    else:
        named = CPU_INFO.read_text() if CPU_INFO.is_file() else ""
        names = [line.split(":")[1].strip() for line in named.splitlines() if line.startswith("model name")]
        name = f"one core of {names[0] if names else platform.processor() or platform.machine()}"
    return f"{name}, torch {torch.__version__}"


def _parameters(out: Path) -> int:
    """How many numbers the model of a world has."""
    return sum(weights.numel() for weights in load_world(out).model.parameters())
