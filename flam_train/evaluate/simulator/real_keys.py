"""Whether dreams do what the keys of the real game do, as parts of a report: obedience, tracking and shots."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

from flam_env.dream.dream import Dream
from flam_env.envs.controls import RealActionControl
from flam_env.warn import warn_user
from flam_train.evaluate.entities import import_ndimage
from flam_train.evaluate.simulator.obedience import obedience_scores
from flam_train.evaluate.simulator.player import player_colour
from flam_train.evaluate.simulator.same_keys import same_keys
from flam_train.evaluate.simulator.shots import check_fires, shots
from flam_train.evaluate.simulator.tracking import tracking
from flam_train.heads.known_actions import action_classes
from flam_train.store.clips import Clips
from flam_train.store.training_data import TrainingData

OfRealKeys = Literal["obedience", "tracking", "shots"]


def plan_real_keys(dream: Dream, data: TrainingData, metrics: Sequence[str]) -> tuple[OfRealKeys, ...]:
    """Finds out what can be scored before anything is dreamt.

    Args:
        dream: of the world.
        data: a store or pack, whose actions are known.
        metrics: what is asked for; those that press no keys are left out.

    Returns:
        Those that do.

    Raises:
        ValueError: the world has no action decoder, nobody knows the real actions of the data, it is tracking and
            nobody knows the player's colour, or it is shots and the game is not Starpilot.
        ImportError: SciPy is missing.

    Warns:
        UserWarning: the data does not say that keys were drawn at random and held.
    """
    chosen = tuple(metric for metric in get_args(OfRealKeys) if metric in metrics)
    if not chosen:
        return chosen
    RealActionControl(dream.world)
    action_classes(data)
    if "tracking" in chosen:
        player_colour(data.source)
    if "shots" in chosen:
        check_fires(data.source)
    if {"tracking", "shots"} & set(chosen):
        import_ndimage()
    if "held_keys" not in data.settings:
        warn_user(
            f"{data.root}: {', '.join(chosen)} of play whose keys were not drawn at random and held: much of the keys "
            "can be read off the state there; collect other play with `flam-train collect GAME --held-keys 4`"
        )
    return chosen


def real_key_scores(
    dream: Dream, data: TrainingData, clips: Clips, metrics: Sequence[OfRealKeys], seed: int = 0
) -> dict[str, Any]:
    """The parts of a report that a plan asks for, of one set of dreams.

    Args:
        dream: of the world.
        data: whose train split the judge of obedience learns from.
        clips: with known keys, of the context and the steps after it.
        metrics: as `plan_real_keys` has them.
        seed: of all that is by chance.

    Returns:
        obedience: as `obedience_scores`; tracking: as `tracking`; shots: as `shots`; each with held_keys, for how
        many frames keys were held in the data, None where it does not say.
    """
    if not metrics:
        return {}
    pressed, report = same_keys(dream, clips, seed), dict[str, Any]()
    if "obedience" in metrics:
        report["obedience"] = obedience_scores(dream, data, pressed, seed)
    if "tracking" in metrics:
        report["tracking"] = tracking(pressed, player_colour(data.source))
    if "shots" in metrics:
        report["shots"] = shots(pressed, action_classes(data))
    held = {"held_keys": data.settings.get("held_keys")}
    return {part: scores | held for part, scores in report.items()}
