"""Videos of several episodes: where each begins, and pieces that lie within one."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np


def check_starts(starts: Sequence[int] | np.ndarray, video: np.ndarray | Iterator[np.ndarray]) -> np.ndarray:
    """Indices of frames with which an episode begins, int64 (N,), ascending.

    Raises:
        ValueError: they are none of this video's, or it is a batch. Of what yields frames one by one nobody knows the
            end yet: `split_at` looks at it.
    """
    found = np.asarray(starts)
    if found.size == 0:
        return np.zeros(0, np.int64)
    if isinstance(video, np.ndarray) and video.ndim != 4:
        raise ValueError(
            f"expected starts with one video, frames (T, H, W, 3), got a batch of shape {video.shape}; label one video "
            "after the other"
        )
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise ValueError(
            f"expected starts to be indices of frames (N,), got {found.dtype} of shape {found.shape}; "
            "of flags, one for each frame, take np.flatnonzero"
        )
    found = found.astype(np.int64)
    _check_range(found, len(video) if isinstance(video, np.ndarray) else None)
    return found


def _check_range(starts: np.ndarray, frames: int | None) -> None:
    beyond = frames is not None and starts.max() >= frames
    if starts.min() < 0 or beyond or (np.diff(starts) <= 0).any():
        where = "of 0 or more" if frames is None else f"in [0, {frames - 1}]"
        raise ValueError(
            f"expected ascending starts {where}, each once, got {starts.tolist()}; sort them and leave out what is no "
            "frame of the video"
        )


def split_at(pieces: Iterable[np.ndarray], starts: np.ndarray) -> Iterator[tuple[bool, np.ndarray]]:
    """Pieces (..., t, H, W, 3), split so that each lies within one episode, and whether it begins one.

    Raises:
        ValueError: at the end, if the video had no such frames.
    """
    at = 0
    for piece in pieces:
        after = at + piece.shape[-4]
        inside = starts[np.searchsorted(starts, at) : np.searchsorted(starts, after)]
        for part in np.split(piece, inside[inside > at] - at, axis=-4):
            yield at in inside, part
            at += part.shape[-4]
    if starts.size:
        _check_range(starts, at)
