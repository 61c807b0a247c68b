"""What lies behind the things of clips, as their whole episodes show it."""

import numpy as np

from flam_train.evaluate.entities import find_background
from flam_train.store.clips import Clips, draw_places
from flam_train.store.training_data import TrainingData

MOVING = ("nuplan", "synthetic-drive")
"""Sources whose camera moves: nothing lies still behind things there, and none can be told from it."""
SEEN = 64  # frames of an episode, evenly spread, that tell its background


def episode_backgrounds(data: TrainingData, split: str, clips: Clips, seed: int) -> np.ndarray:
    """`find_background` of the episodes that clips are of: what stands still for a clip may move in its episode.

    Of a pack, which has no other pixels, it is that of the clips.

    Args:
        data: what the clips were drawn from.
        split: of which levels.
        clips: as `draw_clips` draws them.
        seed: with which they were drawn.

    Returns:
        uint8 (B, H, W, 3).
    """
    places = draw_places(data, split, clips.count, clips.frames.shape[1], seed)
    shown = []
    for (record, _), clip in zip(places, clips.frames, strict=True):
        whole = data.has_frames(record, 0, record.frames)
        frames = data.read_frames(record, 0, record.frames) if whole else clip
        shown.append(frames[np.linspace(0, len(frames) - 1, SEEN).round().astype(int)])
    return find_background(np.stack(shown))
