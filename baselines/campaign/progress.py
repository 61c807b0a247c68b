"""What of a plan is done, what is left, and how long that may take: from what trainings took that are done or begun."""

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

from baselines.campaign.data_sets import find_data
from baselines.campaign.methods import METHODS, SLOTS
from baselines.campaign.plans import Training
from baselines.campaign.trainings import Campaign
from flam_train.engine.log import log_lines
from flam_train.evaluate.report import read_report

Kind = tuple[str, str, str]
"""Data set, preset and method, of which a step takes equally long."""


def progress_lines(trainings: Sequence[Training], campaign: Campaign, *, budgets: bool = False) -> Iterator[str]:
    """Says what is left.

    Args:
        trainings: of a plan.
        campaign: where their reports and logs are.
        budgets: with a line for each training: its steps and clips, where its data is, and what is done of it.
    """
    paces, scored = _paces(trainings, campaign), [training for training in trainings if campaign.is_done(training)]
    left = [training for training in trainings if training not in scored]
    seconds = {training.name: _seconds_left(training, campaign, paces) for training in left}
    if budgets:
        yield "| training | updates x clips | of slots before | data | state |\n| --- | --- | --- | --- | --- |"
        yield from (_line(training, campaign, seconds) for training in trainings)
    known = [value for value in seconds.values() if value is not None]
    unknown = len(left) - len(known)
    beside = f", and {unknown} of which nothing is known yet" if unknown else ""
    estimate = f"; about {sum(known) / 60:.0f} minutes of one core left{beside}" if left else ""
    yield f"{len(scored)} of {len(trainings)} trainings have their report{estimate}"


def _line(training: Training, campaign: Campaign, seconds: dict[str, float | None]) -> str:
    size = training.preset_for(training.method).tokenizer.image_size
    on_slots = training.method in METHODS and METHODS[training.method].on_slots
    before = training.budget.steps_of(SLOTS) if on_slots else 0
    state = "done"
    if training.name in seconds:
        left, done = seconds[training.name], _steps(training, campaign, "world_model")
        state = f"step {done}, " if done else ""
        state += "minutes unknown" if left is None else f"{left / 60:.0f} minutes left"
    budget = f"{training.budget.steps} x {training.budget.batch_size}"
    return f"| {training.label} | {budget} | {before} | {find_data(campaign.data, training.data, size)} | {state} |"


def _steps(training: Training, campaign: Campaign, phase: str) -> int:
    lines = log_lines(campaign.folder(training) / "training" / phase)
    return lines[-1]["step"] if lines else 0


def _paces(trainings: Sequence[Training], campaign: Campaign) -> dict[Kind, float]:
    """Seconds that an update of one clip takes, by kind."""
    found: dict[Kind, list[float]] = {}
    for training in trainings:
        for method, folder in _phases(training, campaign).items():
            if ends := log_lines(folder)[-1:]:
                pace = ends[0]["time"] / ends[0]["step"] / training.budget.batch_size
                found.setdefault((training.data, training.preset, method), []).append(pace)
        if (path := campaign.report(training)).exists():
            run: dict[str, Any] = read_report(path)["run"]
            pace = run["seconds"] / run["steps"] / training.budget.batch_size
            found.setdefault((training.data, training.preset, training.method), []).append(pace)
    return {kind: fmean(paces) for kind, paces in found.items()}


def _phases(training: Training, campaign: Campaign) -> dict[str, Any]:
    """Where the logs of a training's parts are, by method."""
    own = campaign.folder(training) / "training"
    if training.method == SLOTS:
        return {SLOTS: own / "slots"}
    before = {SLOTS: campaign.slots(training) / "training" / "slots"} if METHODS[training.method].on_slots else {}
    return before | {training.method: own / "world_model"}


def _seconds_left(training: Training, campaign: Campaign, paces: dict[Kind, float]) -> float | None:
    """What is left of the updates of a training; None if there is nothing to tell it by."""
    total = 0.0
    for method, folder in _phases(training, campaign).items():
        done = (log_lines(folder)[-1:] or [{"step": 0}])[0]["step"]
        pace = paces.get((training.data, training.preset, method))
        steps = training.budget.steps_of(method)
        if pace is None and done < steps:
            return None
        total += (steps - done) * training.budget.batch_size * (pace or 0.0)
    return total
