"""The measures of a simulator as parts of a report: what slots hold and know, and how long dreams hold."""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from flam_env.dream.dream import Dream
from flam_train.evaluate.backgrounds import MOVING, episode_backgrounds
from flam_train.evaluate.entities import find_background, find_entities, import_ndimage
from flam_train.evaluate.ownership import entity_scores
from flam_train.evaluate.rooms.cell_probe import import_assignment
from flam_train.evaluate.simulator.controls import realism_controls, tokenizer_round_trip
from flam_train.evaluate.simulator.horizon import StretchScores, horizon
from flam_train.evaluate.simulator.life import Compared, lives
from flam_train.evaluate.simulator.long_dreams import Steps, level_of, long_dreams, long_places
from flam_train.evaluate.simulator.off_road import flagged
from flam_train.evaluate.simulator.realism import FIT, Told, realism
from flam_train.evaluate.simulator.stretches import stretches_until, typical_steps
from flam_train.evaluate.simulator.velocity import FRAMES, held_entities, velocity_scores
from flam_train.store.clips import Clips
from flam_train.store.training_data import TrainingData, episode_tokens

try:
    from tqdm import tqdm
except ImportError as error:
    raise ImportError("scores need tqdm: pip install 'flam-env[train]'") from error

OfClips = Literal["slots", "velocity"]
OfLongDreams = Literal["realism", "life", "horizon"]
OfSimulator = Literal[OfClips, OfLongDreams]
OF_ENTITIES = (*get_args(OfClips), "life", "horizon")
"""Metrics of entities that are found in the pixels, by what lies still behind them."""


class SimulatorPlan(NamedTuple):
    """What is to be scored, which is known to be possible.

    metrics: which; dreams: how many long ones at most; stretches: of these, none where no metric is of long dreams.
    """

    metrics: tuple[str, ...]
    dreams: int
    stretches: tuple[Steps, ...]


def plan_simulator(
    dream: Dream,
    data: TrainingData,
    split: str,
    metrics: Sequence[str],
    length: int,
    *,
    dreams: int,
    steps: int | None = None,
    seed: int = 0,
) -> SimulatorPlan:
    """Finds out what can be scored before anything is dreamt.

    Args:
        dream: of the world.
        data: a store, or a pack: long dreams need tokens only.
        split: which levels.
        metrics: what is asked for; those of others than simulators are left out.
        length: frames of the clips that slots and velocity are scored on.
        dreams: how many long dreams at most.
        steps: of a long dream; by default `typical_steps`.
        seed: of the places that dreams begin at.

    Raises:
        ImportError: SciPy is missing.
        ValueError: clips or episodes that are too short, long dreams of fewer than two levels, a pack of another
            tokenizer, or metrics of entities where the camera moves.
    """
    chosen = tuple(metric for metric in get_args(OfSimulator) if metric in metrics)
    _check_camera(data, chosen)
    if chosen:
        import_assignment()
        import_ndimage()
    if "velocity" in chosen and length <= FRAMES.stop:
        raise ValueError(
            f"expected clips of {FRAMES.stop + 1} frames or more for the metric velocity, context and horizon "
            f"together, got {length}; take a longer horizon"
        )
    if not set(chosen) & set(get_args(OfLongDreams)):
        return SimulatorPlan(chosen, dreams, ())
    context = dream.world.settings.context
    stretches = stretches_until(typical_steps(data, split, context) if steps is None else steps)
    places = long_places(data, split, dreams, context + stretches[-1][1], seed)
    levels = {level_of(data, record) for record, _ in places}
    if len(levels) < 2:
        raise ValueError(
            f"{data.root}: expected long dreams of at least two levels, some to learn on and others to be tested on, "
            f"got {len(places)} of {len(levels)}; score more or shorter dreams, or collect more levels"
        )
    episode_tokens(data, places[0][0], 1, dream.tokenizer)
    return SimulatorPlan(chosen, dreams, stretches)


def _check_camera(data: TrainingData, metrics: Sequence[str]) -> None:
    asked = [metric for metric in metrics if metric in OF_ENTITIES]
    if asked and data.source in MOVING:
        raise ValueError(
            f"{data.root}: expected metrics that {data.source} can have, got {', '.join(asked)}, whose entities are "
            "what differs from a background that stands still, and here the camera moves; leave them out"
        )


def simulator_scores(
    dream: Dream, data: TrainingData, split: str, clips: Clips, plan: SimulatorPlan, seed: int = 0
) -> dict[str, Any]:
    """The parts of a report that a plan asks for; what is not known, or not finite, is None.

    Returns:
        slots: as `entity_scores`; velocity: as `velocity_scores`. Of one set of long dreams, each with dreams, their
        number: realism, for each of its stretches the steps, the auc and its spread over networks, and controls; with
        it, of a world that can tell, off_road, for each stretch what `Flagged` has; life, for each of its stretches
        what `Compared` has; dream_horizon, with last_step, the horizon, and for each stretch whether it holds by
        itself. The metric "horizon" brings all of them.
    """
    report: dict[str, Any] = {}
    if set(plan.metrics) & set(get_args(OfClips)):
        entities = follow_entities(clips.frames, episode_backgrounds(data, split, clips, seed))
        if "slots" in plan.metrics:
            report["slots"] = entity_scores(dream, clips, entities, seed=seed)
        if "velocity" in plan.metrics:
            report["velocity"] = velocity_scores(held_entities(dream, clips.frames, entities), seed)
    if plan.stretches:
        report |= _long_dream_scores(dream, data, split, plan, seed)
    return _finite(report)


def follow_entities(frames: np.ndarray, background: np.ndarray) -> np.ndarray:
    """`find_entities` with a progress bar."""
    behind = tqdm(background, desc="following", unit=" clips", leave=False, disable=None)
    return np.concatenate([find_entities(clip[None], still[None]) for clip, still in zip(frames, behind, strict=True)])


def _long_dream_scores(dream: Dream, data: TrainingData, split: str, plan: SimulatorPlan, seed: int) -> dict[str, Any]:
    stretches, metrics, report = plan.stretches, set(plan.metrics), dict[str, Any]()
    dreams = long_dreams(dream, data, split, plan.dreams, steps=stretches[-1][1], seed=seed)
    count, background = len(dreams.levels), None if data.source in MOVING else find_background(dreams.real)
    alive, told = list[Compared](), list[Told]()
    if metrics & {"life", "horizon"} and background is not None:
        alive = lives(dreams, background, find_entities, stretches)
        report["life"] = {"dreams": count, "stretches": [_life(each) for each in alive]}
    if metrics & {"realism", "horizon"}:
        controls = realism_controls(dreams, background, tokenizer_round_trip(dream), stretches, seed, FIT)
        told = realism(dreams, stretches, seed, FIT)
        report["realism"] = {
            "dreams": count,
            "stretches": [{"steps": list(steps)} | _told(each) for steps, each in zip(stretches, told, strict=True)],
            "controls": {
                "same": _told(controls.same),
                "deleted": controls.deleted and _told(controls.deleted),
                "hold": controls.hold,
            },
        }
        if dreams.off_road is not None:
            signs = zip(stretches, flagged(dreams.off_road, stretches), strict=True)
            each_flagged = [{"steps": list(steps)} | each._asdict() for steps, each in signs]
            report["off_road"] = {"dreams": count, "stretches": each_flagged}
    if "horizon" in metrics:
        scores = [
            StretchScores(each.steps, of.mean, each.ratio.entities, each.ratio.entries, each.ratio.exits)
            for of, each in zip(told, alive, strict=True)
        ]
        each_holds = [{"steps": list(score.steps), "holds": score.holds} for score in scores]
        report["dream_horizon"] = {"dreams": count, "last_step": horizon(scores), "stretches": each_holds}
    return report


def _life(compared: Compared) -> dict[str, Any]:
    sides = {name: side._asdict() for name, side in compared._asdict().items() if name != "steps"}
    return {"steps": list(compared.steps)} | sides


def _told(told: Told) -> dict[str, float]:
    return {"auc": told.mean, "spread": told.spread}


def _finite(value: Any) -> Any:
    """What JSON can hold: numbers that are not finite become None."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
