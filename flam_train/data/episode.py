"""One episode, and the HDF5 file that holds it: frames (gzip, chunks of 16 frames), actions, rewards, attributes.

What a simulator knows of the scene, if anything, lies in the group `truth`, one array per name; what a world inferred
from the frames, if it did, in the group `labels`.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

FORMAT = "flam-episodes"
CHUNK_FRAMES = 16
ATTRIBUTES = ("agent", "level_seed", "terminated")
LABELS = ("latent_actions", "actions", "action_probabilities")
_ADVICE = "delete the file and collect again (a resumed collection makes the same episode anew)"


@dataclass(frozen=True, kw_only=True)
class EpisodeLabels:
    """What a world inferred from the frames of an episode.

    Attributes:
        world: its fingerprint; latent actions of different worlds have nothing to do with each other.
        latent_actions: float32 (T - 1, K, A) in action units, unclipped; action t leads from frames[t] to the next.
        actions: int16 (T - 1,), the real action that each transition looks like; None where the world had no decoder.
        action_probabilities: float32 (T - 1, C), how likely each real action is; or None.
    """

    world: str
    latent_actions: np.ndarray
    actions: np.ndarray | None = None
    action_probabilities: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One uncut stretch of video with what drove it.

    Attributes:
        frames: uint8 (T, H, W, 3).
        actions: int16 (T,), the action taken at frames[t], or (T, agents) where several act; (T, 0) where nobody
            knows.
        rewards: float32 (T,), received after actions[t], 0 where nobody knows.
        level_seed: the level that was played, -1 where there is none.
        agent: who played, e.g. "planner" or "random".
        terminated: whether the episode ended after the last action (False: it was cut there).
        truth: what is really to be seen in frames[t], by name, each (T, ...); for evaluation only.
        labels: what a world inferred, if it was asked.
    """

    frames: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    level_seed: int
    agent: str
    terminated: bool
    truth: dict[str, np.ndarray] = field(default_factory=dict)
    labels: EpisodeLabels | None = None


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
    if episode.labels is not None:
        _check_labels(episode.labels, length - 1)


def _check_labels(labels: EpisodeLabels, transitions: int) -> None:
    wanted: dict[str, tuple[type, str]] = {
        "latent_actions": (np.float32, "K, A"),
        "actions": (np.int16, ""),
        "action_probabilities": (np.float32, "C"),
    }
    for name, (dtype, axes) in wanted.items():
        found = getattr(labels, name)
        if found is None and name != "latent_actions":
            continue
        if found.dtype != dtype or found.ndim != 1 + len(axes.split()) or len(found) != transitions:
            raise ValueError(
                f"expected {name.replace('_', ' ')} {np.dtype(dtype).name} ({transitions}, {axes}), one fewer than "
                f"frames, got {found.dtype} {found.shape}; label the whole episode"
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
    if "labels" in file and not ("world" in file["labels"].attrs and "labels/latent_actions" in file):
        missing += ["whole labels"]
    missing += [key for key in ATTRIBUTES if key not in file.attrs]
    if file.attrs.get("format") != FORMAT or missing:
        file.close()
        raise ValueError(
            f"expected an episode in format {FORMAT}, got {path} without {missing or 'the mark'}; {_ADVICE}"
        )
    return file


def read_episode(path: Path, frames: slice = slice(None)) -> Episode:
    """Reads a whole file, or of its frames only a part.

    Raises:
        ValueError: the file is truncated or foreign.
    """
    with open_episode(path) as file:
        return Episode(
            frames=read_values(file, "frames", path, frames),
            actions=read_values(file, "actions", path),
            rewards=read_values(file, "rewards", path),
            level_seed=int(file.attrs["level_seed"]),
            agent=str(file.attrs["agent"]),
            terminated=bool(file.attrs["terminated"]),
            truth={name: read_values(file, f"truth/{name}", path) for name in file.get("truth", ())},
            labels=_read_labels(file, path),
        )


def labelling_world(file) -> str | None:
    """The fingerprint of the world that labelled an open file, None where it has no labels."""
    return str(file["labels"].attrs["world"]) if "labels" in file else None


def _read_labels(file, path: Path) -> EpisodeLabels | None:
    world = labelling_world(file)
    if world is None:
        return None
    there = {name: read_values(file, f"labels/{name}", path) for name in LABELS if f"labels/{name}" in file}
    return EpisodeLabels(world=world, **there)


def read_values(file, key: str, path: Path, part: slice = slice(None)) -> np.ndarray:
    """Reads a part of one array of an open file, or says that the file is damaged."""
    try:
        return file[key][part]
    except OSError as error:
        raise ValueError(f"expected readable {key}, got a damaged file {path} ({error}); {_ADVICE}") from error


class EpisodeWriter:
    """Writes one file whose frames come in pieces, so that memory does not grow with their number.

    A context manager. The file is an episode once `finish` was called.
    """

    def __init__(self, path: Path, size: int):
        self._file = import_h5py().File(path, "w")
        shape = (size, size, 3)
        self._frames = self._file.create_dataset(
            "frames",
            (0, *shape),
            np.uint8,
            maxshape=(None, *shape),
            chunks=(CHUNK_FRAMES, *shape),
            compression="gzip",
            compression_opts=4,
        )

    def __enter__(self) -> "EpisodeWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, frames: np.ndarray) -> None:
        """Adds frames uint8 (t, size, size, 3)."""
        before = len(self._frames)
        self._frames.resize(before + len(frames), axis=0)
        self._frames[before:] = frames

    def finish(self, episode: Episode) -> None:
        """Adds all else; the frames of the episode that is given are not looked at.

        Raises:
            ValueError: shapes or dtypes do not fit the frames that were added.
        """
        check_episode(replace(episode, frames=self._frames), self._frames.shape[1])
        self._file.create_dataset("actions", data=episode.actions)
        self._file.create_dataset("rewards", data=episode.rewards)
        for name, array in episode.truth.items():
            self._file.create_dataset(f"truth/{name}", data=array)
        if episode.labels is not None:
            for name in LABELS:
                if (array := getattr(episode.labels, name)) is not None:
                    self._file.create_dataset(f"labels/{name}", data=array)
            self._file["labels"].attrs["world"] = episode.labels.world
        for key in ATTRIBUTES:
            self._file.attrs[key] = getattr(episode, key)
        self._file.attrs["format"] = FORMAT


def import_h5py():
    """Imports h5py, or says how to install it."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError("episodes are kept in HDF5; install h5py with: pip install 'flam-env[train]'") from error
    return h5py
