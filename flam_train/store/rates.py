"""Frames a second of the episodes in a store, and of a world that learns from it."""

from flam_env.video.rates import alike
from flam_env.warn import warn_user
from flam_env.worlds.world import WorldSettings
from flam_train.store.training_data import TrainingData

SETTING = "frames_per_second"
"""The name of the rate among the settings of a store."""

KNOWN = {"procgen": 15.0, "multigrid": 15.0}
"""Rates of sources whose stores do not say theirs: that of Procgen's games, and the one at which rooms are shown."""


def store_rate(store: TrainingData) -> float | None:
    """Frames a second: what the settings of a store say, or what is known of its source; None where nobody knows."""
    return store.settings.get(SETTING, KNOWN.get(store.source.partition("/")[0]))


def learned_rate(store: TrainingData) -> float:
    """Frames a second of a world that learns from a store; a warning says so where nobody knows."""
    rate, default = store_rate(store), WorldSettings(source=store.source).frames_per_second
    if rate is None:
        warn_user(
            f"{store.root} does not say how many frames a second its episodes have, so the world will say {default}; "
            f"put {SETTING!r} into the settings with which the store is created"
        )
        return default
    return rate


def warn_of_store_rate(store: TrainingData, world: float) -> None:
    """Warns of a store that a world is to watch, and that has another pace than what the world learned from."""
    rate = store_rate(store)
    if rate is not None and not alike(rate, world):
        warn_user(
            f"{store.root} has {rate:g} frames a second and the videos of this world had {world:g}, so between two "
            f"frames {'less' if rate > world else 'more'} happens than the world knows; use a store and a world of one "
            "pace"
        )
