"""Videos of several episodes: where each begins, and pieces that lie within one."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np


def check_starts(starts: Sequence[int] | np.ndarray, video: np.ndarray | Iterator[np.ndarray]) -> np.ndarray:
    """Indices of frames with which an episode begins, int64 (N,), ascending.

    Raises:
        ValueError: they are none of this video's, or it is no array (T, H, W, 3).
    """
    found = np.asarray(starts)
    if found.size == 0:
        return np.zeros(0, np.int64)
    if not isinstance(video, np.ndarray) or video.ndim != 4:
        raise ValueError("expected starts with an array of frames (T, H, W, 3) only; label one array after the other")
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise ValueError(
            f"expected starts to be indices of frames (N,), got {found.dtype} of shape {found.shape}; "
            "of flags, one for each frame, take np.flatnonzero"
        )
    found = found.astype(np.int64)
    if found.min() < 0 or found.max() >= len(video) or (np.diff(found) <= 0).any():
        raise ValueError(
            f"expected ascending starts in [0, {len(video) - 1}], each once, got {starts}; sort them and leave out "
            "what is no frame of the video"
        )
    return found


def split_at(pieces: Iterable[np.ndarray], starts: np.ndarray) -> Iterator[tuple[bool, np.ndarray]]:
    """Pieces (..., t, H, W, 3), split so that each lies within one episode, and whether it begins one."""
    at = 0
    for piece in pieces:
        after = at + piece.shape[-4]
        inside = starts[np.searchsorted(starts, at) : np.searchsorted(starts, after)]
        for part in np.split(piece, inside[inside > at] - at, axis=-4):
            yield at in inside, part
            at += part.shape[-4]
