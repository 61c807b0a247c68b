"""One training from its data to its report: each part is skipped where it is done, and goes on where it was."""

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from baselines.campaign.data_sets import collect_data
from baselines.campaign.methods import METHODS, SLOTS
from baselines.campaign.paper import TABLE_1
from baselines.campaign.plans import Training
from baselines.campaign.shared import learn_slots, require_planned, share_slots, share_tokenizer
from baselines.savi import slots
from baselines.train import equal_arguments
from flam_env.worlds.checkpoint import as_written
from flam_env.worlds.loading import load_world
from flam_env.worlds.writing import write_atomically
from flam_train.engine.identity import as_json, require_same
from flam_train.engine.log import log_lines
from flam_train.engine.processes import logged
from flam_train.evaluate.evaluate import Metric, evaluate
from flam_train.evaluate.report import added_to, read_report
from flam_train.phases.tokenizer import FILE as TOKENIZER_FILE
from flam_train.studies.recipe.pieces import PieceOver, piece
from flam_train.studies.reports import ADVICE
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

    def logs(self, training: Training) -> dict[str, Path]:
        """The folders of the logs of a training by method: of the slots that it is learned on, then its own."""
        own = self.folder(training) / "training"
        if training.method == SLOTS:
            return {SLOTS: own / "slots"}
        before = {SLOTS: self.slots(training) / "training" / "slots"} if METHODS[training.method].on_slots else {}
        return before | {training.method: own / "world_model"}

    def spent(self, training: Training) -> dict[str, dict[str, float]]:
        """The `steps` and `seconds` of what the logs of a training say so far, by method."""
        ends = {method: log_lines(log)[-1:] for method, log in self.logs(training).items()}
        return {method: {"steps": end["step"], "seconds": end["time"]} for method, last in ends.items() for end in last}


def check_report(training: Training, campaign: Campaign) -> None:
    """Refuses a report that would pass for this training's, or one that lacks a metric and cannot get it.

    Raises:
        ValueError: it is of a training with other settings, or damaged.
        FileNotFoundError: it lacks a metric, and its world is gone.
    """
    path, folder = campaign.report(training), campaign.folder(training)
    if path.exists():
        require_settings(read_report(path), training, path)
    if (lacking := campaign.lacking(training)) and not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"expected the world of {training.name} in {folder}, to add {', '.join(lacking)} to its report, found "
            f"none; bring it back, ask for less with --perceptual, or move {path} away to train it anew"
        )


def require_settings(report: Mapping[str, Any], training: Training, path: Path) -> None:
    """Refuses a report of other settings than those that decide a training now.

    Args:
        report: its content.
        training: that it should be of.
        path: where it was, for the message.

    Raises:
        ValueError: it is of a training with other settings, or says nothing of any.
    """
    there, here = report.get("run", {}).get("settings", {}), as_json(settings(training))
    require_same(there, here, where=path, kind=f"a report of {training.name}", advice=ADVICE)


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
    path, data = campaign.report(training), _prepare(training, campaign)
    if path.exists():  # of the world that is there, which has yet to be scored on something
        report = added_to(path, _score(training, campaign, data))
    else:
        _train(training, campaign, data)
        report = _score(training, campaign, data) if training.scored else {}
        report["run"] = summary(training, campaign)
    write_atomically(path, json.dumps(report, indent=1).encode())


def _train(training: Training, campaign: Campaign, data: Path) -> None:
    out, looks = campaign.folder(training), _looks_every(training)
    if training.method == SLOTS:
        learn_slots(training, data, out, looks)
        return
    method, arguments = METHODS[training.method], _arguments(training)
    require_planned(campaign.logs(training)[training.method], {"fit": asdict(arguments["fit_config"])})
    if method.on_slots:
        arguments["slots"] = share_slots(training, data, campaign.slots(training), out, looks)
    method.train(data, out=out, evaluate_every=looks, **arguments)


def _arguments(training: Training) -> dict[str, Any]:
    return METHODS[training.method].arguments(training.preset_for(training.method), training.data_set)


def _looks_every(training: Training) -> int:
    return -(-training.budget.steps // (LOOKS if training.scored else 1))


def _prepare(training: Training, campaign: Campaign) -> Path:
    """The data of a training, collected if need be; its tokenizer then lies in the folder, unless a pack brings it."""
    size, out = training.data_set.preset_at(training.preset).tokenizer.image_size, campaign.folder(training)
    data = collect_data(campaign.data, training.data, size)
    if data.is_dir() and not (out / TOKENIZER_FILE).exists():
        share_tokenizer(training, data, campaign.tokenizer(training), out)
    return data


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
    """What was trained, with what budget, and how it went.

    `settings` is what was asked for, `model` what came of it: data decide some of it, as who acts in how many ways.
    """
    lines, phases = log_lines(campaign.logs(training)[training.method]), campaign.spent(training)
    model = load_world(campaign.folder(training)).model if training.scored else None
    return {
        "name": training.name,
        "training": asdict(training),
        "settings": settings(training),
        "model": as_written(model.config) if model else None,
        "parameters": sum(weights.numel() for weights in model.parameters()) if model else None,
        "steps": sum(phase["steps"] for phase in phases.values()),
        "seconds": sum(phase["seconds"] for phase in phases.values()),
        "phases": phases,
        "objective": [line["loss"] for line in lines if "loss" in line][-1],
        "machine": machine(),
        "looks": [line for line in lines if "eval/accuracy" in line or "eval/rollout_psnr" in line],
    }


def settings(training: Training) -> dict[str, Any]:
    """What decides a training, as JSON-able dicts by name; with the budget of the slots that it is learned on."""
    before = equal_arguments(slots, training.preset_for(SLOTS))
    arguments = before if training.method == SLOTS else _arguments(training)
    if training.method != SLOTS and METHODS[training.method].on_slots:
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
