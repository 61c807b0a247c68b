"""Frames in one file that processes share: each reads what it needs where it is, and none holds them all."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.lib.format import write_array_header_1_0

from flam_env.worlds.writing import replacing
from flam_train.store.moments import Moments, read_clips
from flam_train.store.store import EpisodeStore

FRAMES, MOMENTS = "frames.npy", "moments.npz"
PIECE = 16_384  # frames read at once: those of a long store would fill the memory


@contextlib.contextmanager
def shared_frames(store: EpisodeStore, at: Moments, path: Path) -> Iterator[None]:
    """Keeps the frames of some moments in a folder while the context is open; `read_shared` finds them there.

    Args:
        store: of the episodes; a frame of 64 px takes 12 kB.
        at: P moments.
        path: the folder, which is gone afterwards; what a process that was killed has left is replaced.

    Raises:
        ValueError: an episode is no longer there, or shorter.
        OSError: the disk is full.
    """
    with replacing(path) as temporary:
        temporary.mkdir()
        np.savez(temporary / MOMENTS, names=np.array(at.names), episodes=at.episodes, frames=at.frames, split=at.split)
        with (temporary / FRAMES).open("wb") as file:
            shape = (len(at), store.size, store.size, 3)
            write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            for start in range(0, len(at), PIECE):
                read_clips(store, at.take(np.arange(start, min(start + PIECE, len(at))))).tofile(file)
    try:
        yield
    finally:
        shutil.rmtree(path)


def read_shared(path: Path, at: Moments) -> np.ndarray:
    """The frames of some moments, uint8 (P, H, W, 3); where they are all that there is, in order, not in memory.

    Raises:
        ValueError: the folder lacks some of them.
    """
    with np.load(path / MOMENTS) as file:
        there = Moments(
            split=str(file["split"]),
            names=tuple(file["names"].tolist()),
            episodes=file["episodes"],
            frames=file["frames"],
        )
    frames = np.load(path / FRAMES, mmap_mode="r")
    rows = _rows(path, there, at)
    return frames if np.array_equal(rows, np.arange(len(frames))) else frames[rows]


def _rows(path: Path, there: Moments, at: Moments) -> np.ndarray:
    """Where moments are among others, int64 (P,)."""
    numbers = {name: number for number, name in enumerate(there.names)}
    episodes = np.array([numbers.get(name, -1) for name in at.names])[at.episodes]
    longest = 1 + max(there.frames.max(initial=0), at.frames.max(initial=0))
    keys, wanted = there.episodes * longest + there.frames, episodes * longest + at.frames
    order = np.argsort(keys, kind="stable")
    rows = order[np.searchsorted(keys, wanted, sorter=order).clip(max=len(keys) - 1)]
    if at.split != there.split or not np.array_equal(keys[rows], wanted):
        raise ValueError(
            f"{path}: expected the frames of {len(at)} moments of split {at.split!r}, got {len(there)} of split "
            f"{there.split!r} that lack some of them; let a store be while others learn from it"
        )
    return rows
