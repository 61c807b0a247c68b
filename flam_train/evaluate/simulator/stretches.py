"""How long dreams can be that have real video beside them, and which of their steps are scored together."""

import numpy as np

from flam_train.evaluate.simulator.long_dreams import STRETCHES, Steps
from flam_train.evaluate.simulator.realism import FRAMES
from flam_train.store.training_data import TrainingData


def stretches_until(steps: int) -> tuple[Steps, ...]:
    """`STRETCHES` as far as dreams of so many steps reach; a last one that holds no window is left out.

    Raises:
        ValueError: fewer steps than a window has frames.
    """
    reached = ((first, min(last, steps)) for first, last in STRETCHES)
    stretches = tuple((first, last) for first, last in reached if last - first + 1 >= FRAMES)
    if not stretches:
        raise ValueError(f"expected dreams of at least {FRAMES} steps, a window of real or dream, got {steps}")
    return stretches


def typical_steps(data: TrainingData, split: str, context: int) -> int:
    """How long dreams may be for their episodes to be what the data mostly is, in whole windows.

    Half of the frames of the split lie in episodes with room for the context and so many steps. Longer dreams, up to
    the last of `STRETCHES`, would be of its few longest episodes, which need not be like the others.

    Raises:
        ValueError: such episodes have no room for a window, or there are none.
    """
    lengths = np.sort([record.frames for record in data.episodes(split)])[::-1]
    half = int(lengths[np.searchsorted(lengths.cumsum(), lengths.sum() / 2)]) if len(lengths) else 0
    steps = min(half - context, STRETCHES[-1][1])
    if steps < FRAMES:
        raise ValueError(
            f"{data.root}: expected episodes of {context + FRAMES} frames or more in split {split!r}, the context and "
            f"a window of real or dream, got {half} or fewer in half of its frames; collect longer episodes"
        )
    return steps - steps % FRAMES
