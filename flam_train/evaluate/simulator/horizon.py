"""How long the dreams of a world hold: one number that follows from the scores of each stretch."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from flam_train.evaluate.simulator.long_dreams import Steps

MOST_TOLD = 0.75  # AUC of real or dream up to which a stretch holds
ALIKE = (0.67, 1.5)  # dreamt over real


class StretchScores(NamedTuple):
    """What is known of a stretch: its steps, the AUC of real or dream, and dreamt over real of three rates."""

    steps: Steps
    auc: float
    entities: float
    entries: float
    exits: float

    @property
    def holds(self) -> bool:
        """Whether dreams are hard to tell from real video there and as much happens in them; no if it is not known."""
        low, high = ALIKE
        return self.auc <= MOST_TOLD and all(
            low <= ratio <= high for ratio in (self.entities, self.entries, self.exits)
        )


def horizon(stretches: Sequence[StretchScores]) -> int:
    """The last step of the last stretch that holds as do all before it, 0 if the first does not.

    A card's horizon tells how long a dream may be that one wants to use, all of it: so a stretch that holds after one
    that does not is not counted. Where no stretch fails before one that holds, this is the end of the last that holds.

    Raises:
        ValueError: stretches that are not in order.
    """
    steps = [stretch.steps for stretch in stretches]
    if any(before[1] >= after[0] for before, after in pairwise(steps)):
        raise ValueError(f"expected stretches one after another, got {steps}; sort them by their steps")
    reached = 0
    for stretch in stretches:
        if not stretch.holds:
            break
        reached = stretch.steps[1]
    return reached
