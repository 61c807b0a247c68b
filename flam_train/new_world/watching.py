"""A look at the video before anybody trains on it: what moves, how many things at once, where it is cut."""

from dataclasses import dataclass

import numpy as np

from flam_train.evaluate.backgrounds import episode_backgrounds
from flam_train.evaluate.entities import import_ndimage, smallest_area
from flam_train.evaluate.steering import VISIBLE
from flam_train.phases.world_model import CLIP_FRAMES
from flam_train.store.clips import draw_clips
from flam_train.store.store import EpisodeStore
from flam_train.store.training_data import TrainingData

CLIPS, FRAMES, SEED = 64, 18, 0  # a pack keeps clips of so many frames
MOST_FRAMES = 95  # percent, of which no more regions move than are counted
TORN = 0.6  # share of the pixels that change where a picture has little in common with the one before


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What there is to see in a video.

    Attributes:
        regions: how many things move at once: in 95 of 100 frames no more.
        moving: share of the pixels that change from one frame to the next.
        torn: share of the frames that have little in common with the one before, as where a scene is cut.
        short: share of the frames that lie in episodes too short for a clip, of which nothing is learned.
    """

    regions: int
    moving: float
    torn: float
    short: float


def watch(data: TrainingData) -> Seen:
    """Looks at some clips of the train split, or of the val split of a pack, which has no pixels of others.

    Raises:
        ValueError: no clip is long enough.
        ImportError: SciPy is missing.
    """
    split = "train" if isinstance(data, EpisodeStore) else "val"
    clips = draw_clips(data, split, CLIPS, FRAMES, SEED)
    behind = episode_backgrounds(data, split, clips, SEED)
    counts = [moving_regions(frames, still).max((1, 2)) for frames, still in zip(clips.frames, behind, strict=True)]
    changed = changes(clips.frames[:, 1:], clips.frames[:, :-1]).mean((-2, -1))
    lengths = np.array([record.frames for record in data.episodes("train")])
    return Seen(
        regions=int(np.percentile(np.concatenate(counts), MOST_FRAMES)),
        moving=float(changed.mean()),
        torn=float((changed > TORN).mean()),
        short=float(lengths[lengths < CLIP_FRAMES].sum() / lengths.sum()),
    )


def changes(frames: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Pixels that differ by more than the noise of a codec: uint8 (..., H, W, 3) twice -> bool (..., H, W)."""
    return (np.abs(frames.astype(np.int16) - others) >= VISIBLE).any(-1)


def moving_regions(frames: np.ndarray, background: np.ndarray) -> np.ndarray:
    """The regions of each frame but the first that stand out from the background and move.

    Args:
        frames: uint8 (T, H, W, 3).
        background: uint8 (H, W, 3).

    Returns:
        int64 (T - 1, H, W), 0 for none, numbers from 1 on without gaps in each frame.
    """
    label, least = import_ndimage().label, smallest_area(*frames.shape[1:3])
    found = []
    moved = changes(frames[1:], frames[:-1])
    for things, moves in zip(changes(frames[1:], background), moved, strict=True):
        regions, count = label(things, np.ones((3, 3)))
        large = np.bincount(regions.ravel(), minlength=count + 1) >= least
        kept = large & (np.bincount(regions[moves], minlength=count + 1) > 0)
        kept[0] = False
        found.append((np.cumsum(kept) * kept)[regions])
    return np.stack(found)
