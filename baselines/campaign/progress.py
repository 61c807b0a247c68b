"""What of a plan is done, what is left, and how long that may take: from what trainings took that are done or begun."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from statistics import fmean

from baselines.campaign.data_sets import find_data
from baselines.campaign.history import spent
from baselines.campaign.methods import SLOTS
from baselines.campaign.plans import Training
from baselines.campaign.reports import is_done
from baselines.campaign.study import Campaign
from flam_train.evaluate.report import read_report

Kind = tuple[str, str, str]
"""Data set, preset and method, of which a step takes equally long."""
Left = dict[Path, float | None]
"""Seconds that the updates of each phase of a training still take, by its log; None where nothing tells."""


def progress_lines(trainings: Sequence[Training], campaign: Campaign, *, budgets: bool = False) -> Iterator[str]:
    """Says what is left.

    Args:
        trainings: of a plan.
        campaign: where their reports and logs are.
        budgets: with a line for each training: its steps and clips, where its data is, and what is done of it.
    """
    paces = _paces(trainings, campaign)
    unfinished = [training for training in trainings if not is_done(training, campaign)]
    left = {training.name: _left(training, campaign, paces) for training in unfinished}
    if budgets:
        yield "| training | updates x clips | of slots before | data | state |\n| --- | --- | --- | --- | --- |"
        yield from (_line(training, campaign, left) for training in trainings)
    done = len(trainings) - len(left)
    yield f"{done} of {len(trainings)} trainings have their report{_estimate(left.values()) if left else ''}"


def _estimate(left: Collection[Left]) -> str:
    """How long trainings still take together, as far as that is known; slots that they share are learned once."""
    known = [phases for phases in left if None not in phases.values()]
    seconds = {log: still or 0.0 for phases in known for log, still in phases.items()}
    estimate = f"; about {sum(seconds.values()) / 60:.0f} minutes of one core of updates left"
    estimate += "; data, tokenizers and scoring not counted"
    unknown = len(left) - len(known)
    return estimate + (f"; of {unknown} nothing is known yet" if unknown else "")


def _line(training: Training, campaign: Campaign, left: dict[str, Left]) -> str:
    size = training.preset_for(training.method).tokenizer.image_size
    state = "done"
    if training.name in left:
        steps = spent(training, campaign).get(training.method, {}).get("steps", 0)
        phases = left[training.name].values()
        state = f"step {steps}, " if steps else ""
        state += "minutes unknown" if None in phases else f"{sum(filter(None, phases)) / 60:.0f} minutes left"
    before = training.budget.steps_of(SLOTS) if training.on_slots else 0
    budget = f"{training.budget.steps} x {training.budget.batch_size}"
    return f"| {training.label} | {budget} | {before} | {find_data(campaign.data, training.data, size)} | {state} |"


def _paces(trainings: Sequence[Training], campaign: Campaign) -> dict[Kind, float]:
    """Seconds that an update of one clip takes, by kind: as logs say, or reports where these are all that there is."""
    found: dict[Kind, dict[Path, float]] = {}
    for training in trainings:
        path = campaign.report(training)
        phases = read_report(path)["run"].get("phases", {}) if path.exists() else {}
        phases |= spent(training, campaign)
        for method, log in campaign.logs(training).items():
            if method in phases:
                pace = phases[method]["seconds"] / phases[method]["steps"] / training.budget.batch_size
                found.setdefault(_kind(training, method), {})[log] = pace
    return {kind: fmean(paces.values()) for kind, paces in found.items()}


def _left(training: Training, campaign: Campaign, paces: dict[Kind, float]) -> Left:
    phases, left = spent(training, campaign), Left()
    if campaign.report(training).exists():  # which lacks a metric
        return left
    for method, log in campaign.logs(training).items():
        steps = training.budget.steps_of(method) - phases.get(method, {}).get("steps", 0)
        pace = paces.get(_kind(training, method)) if steps else 0.0
        left[log] = None if pace is None else steps * training.budget.batch_size * pace
    return left


def _kind(training: Training, method: str) -> Kind:
    return training.data, training.preset, method
