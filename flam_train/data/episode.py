"""One episode, and the HDF5 file that holds it: frames (gzip, chunks of 16 frames), actions, rewards, attributes.

What a simulator knows of the scene, if anything, lies in the group `truth`, one array per name.
"""

from dataclasses import dataclass, field
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
        actions: int16 (T,), the action taken at frames[t], or (T, agents) where several act.
        rewards: float32 (T,), received after actions[t].
        level_seed: the level that was played.
        agent: who played, e.g. "planner" or "random".
        terminated: whether the episode ended after the last action (False: it was cut there).
        truth: what is really to be seen in frames[t], by name, each (T, ...); for evaluation only.
    """

    frames: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    level_seed: int
    agent: str
    terminated: bool
    truth: dict[str, np.ndarray] = field(default_factory=dict)


def check_episode(episode: Episode, size: int) -> None:
    """Raises a ValueError unless shapes and dtypes are those of an episode with frames of `size` pixels."""
    length = len(episode.frames)
    agents = episode.actions.shape[1:2]
    wanted: dict[str, tuple[type, tuple[int, ...]]] = {
        "frames": (np.uint8, (length, size, size, 3)),
        "actions": (np.int16, (length, *agents)),
        "rewards": (np.float32, (length,)),
    }
    for key, (dtype, shape) in wanted.items():
        array = getattr(episode, key)
        if array.dtype != dtype or array.shape != shape or length == 0:
            raise ValueError(
                f"expected {key} {np.dtype(dtype).name} {shape} with at least one frame, "
                f"got {array.dtype} {array.shape}; convert or resize the episode"
            )
    for name, array in episode.truth.items():
        if not name.isidentifier() or array.dtype.kind not in "biuf" or array.shape[:1] != (length,):
            raise ValueError(
                f"expected truth of numbers ({length}, ...) under a plain name, "
                f"got {name!r} {array.dtype} {array.shape}; convert or rename it"
            )


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
    missing += ["a group truth"] if isinstance(file.get("truth"), h5py.Dataset) else []
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
            truth={name: read_values(file, f"truth/{name}", path) for name in file.get("truth", ())},
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
        for name, array in episode.truth.items():
            file.create_dataset(f"truth/{name}", data=array)
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
