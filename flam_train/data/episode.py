"""One episode, and the HDF5 file that holds it: frames (gzip, chunks of 16 frames), actions, rewards, attributes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

FORMAT = "flam-episodes"
CHUNK_FRAMES = 16
_ADVICE = "delete the file and collect again (a resumed collection makes the same episode anew)"


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One uncut stretch of video with what drove it.

    Attributes:
        frames: uint8 (T, H, W, 3).
        actions: int16 (T,), the action taken at frames[t].
        rewards: float32 (T,), received after actions[t].
        level_seed: the level that was played.
        agent: who played, e.g. "planner" or "random".
        terminated: whether the episode ended after the last action (False: it was cut there).
    """

    frames: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    level_seed: int
    agent: str
    terminated: bool


def open_episode(path: Path):
    """Opens an episode file for reading, or says what is wrong with it."""
    h5py = import_h5py()
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(
            f"expected a whole HDF5 episode, got {path}, which cannot be read ({error}); {_ADVICE}"
        ) from error
    missing = [key for key in ("frames", "actions", "rewards") if not isinstance(file.get(key), h5py.Dataset)]
    missing += [key for key in ("agent", "level_seed", "terminated") if key not in file.attrs]
    if file.attrs.get("format") != FORMAT or missing:
        file.close()
        raise ValueError(
            f"expected an episode in format {FORMAT}, got {path} without {missing or 'the mark'}; {_ADVICE}"
        )
    return file


def read_episode(path: Path) -> Episode:
    """Reads a whole file.

    Raises:
        ValueError: the file is truncated or foreign.
    """
    with open_episode(path) as file:
        return Episode(
            frames=read_values(file, "frames", path),
            actions=read_values(file, "actions", path),
            rewards=read_values(file, "rewards", path),
            level_seed=int(file.attrs["level_seed"]),
            agent=str(file.attrs["agent"]),
            terminated=bool(file.attrs["terminated"]),
        )


def read_values(file, key: str, path: Path, part: slice = slice(None)) -> np.ndarray:
    """Reads a part of one array of an open file, or says that the file is damaged."""
    try:
        return file[key][part]
    except OSError as error:
        raise ValueError(f"expected readable {key}, got a damaged file {path} ({error}); {_ADVICE}") from error


def write_episode(path: Path, episode: Episode) -> None:
    """Writes a whole file, frames in compressed chunks."""
    with import_h5py().File(path, "w") as file:
        chunks = (min(CHUNK_FRAMES, len(episode.frames)), *episode.frames.shape[1:])
        file.create_dataset("frames", data=episode.frames, chunks=chunks, compression="gzip", compression_opts=4)
        file.create_dataset("actions", data=episode.actions)
        file.create_dataset("rewards", data=episode.rewards)
        file.attrs["format"] = FORMAT
        file.attrs["agent"] = episode.agent
        file.attrs["level_seed"] = episode.level_seed
        file.attrs["terminated"] = episode.terminated


def import_h5py():
    """Imports h5py, or says how to install it."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError("episodes are kept in HDF5; install h5py with: pip install 'flam-env[train]'") from error
    return h5py
