"""One drive becomes an episode whose actions are how the car moved, as those of a log of nuPlan are."""

import numpy as np

from flam_train.sources.nuplan.ego_motion import NAMES, ego_motion
from flam_train.sources.synthetic_drive.ego import Moment, moments
from flam_train.sources.synthetic_drive.road import Road
from flam_train.sources.synthetic_drive.traffic import AHEAD, SPEEDS, STEP
from flam_train.sources.synthetic_drive.view import View
from flam_train.store.episode import Episode

SETTINGS = {"frames_per_second": round(1 / STEP), "known_actions": {"kind": "continuous", "names": list(NAMES)}}
"""What a store of drives says of all of them, as one of films does."""
SMALLEST, LARGEST = 32, 448  # pixels


def check_picture_size(size: int) -> int:
    """Returns the height and width of pictures, or raises a ValueError that says which there can be."""
    if not SMALLEST <= size <= LARGEST:
        raise ValueError(f"expected a size of {SMALLEST} to {LARGEST} pixels for a drive, got {size}; use 64 or 224")
    return size


def record_drive(*, seed: list[int], size: int, frames: int) -> Episode:
    """Records a drive that is made up.

    Args:
        seed: non-negative integers that decide everything.
        size: height and width of the frames in pixels.
        frames: length of the episode, a tenth of a second each.

    Returns:
        An episode whose `continuous_actions` are those of `ego_motion`: metres forward and to the left, and radians to
        the left, from each frame to the next.
    """
    sequence = np.random.SeedSequence(seed)
    level_seed = int(sequence.generate_state(1, np.uint64)[0]) >> 1
    scenery, wills, light = map(np.random.default_rng, sequence.spawn(3))
    road = Road(2 * AHEAD + frames * STEP * 1.3 * SPEEDS[1], scenery)
    driven = moments(road, frames, wills)
    view = View(road, size, light)
    return Episode(
        frames=np.stack([view.frame(moment) for moment in driven]),
        actions=np.zeros((frames, 0), np.int16),
        rewards=np.zeros(frames, np.float32),
        level_seed=level_seed,
        agent="random",
        terminated=False,
        continuous_actions=ego_motion(np.array([_pose(moment) for moment in driven]), ()),
    )


def _pose(moment: Moment) -> tuple[float, ...]:
    half = moment.heading / 2
    return moment.x, moment.y, 0.0, float(np.cos(half)), 0.0, 0.0, float(np.sin(half))
