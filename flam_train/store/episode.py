"""One episode, and the HDF5 file that holds it: frames (gzip, chunks of 16 frames), actions, rewards, attributes.

What a simulator knows of the scene, if anything, lies in the group `truth`, one array per name; what a world inferred
from the frames, if it did, in the group `labels`.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from flam_train.store.hdf5 import HDF5Writer, import_h5py, open_hdf5

FORMAT = "flam-episodes"
CHUNK_FRAMES = 16
ATTRIBUTES = ("agent", "level_seed", "terminated")
LABELS = ("latent_actions", "actions", "action_probabilities")


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
        continuous_actions: float32 (T, D), the action taken at frames[t] where it is D real numbers, such as how far a
            wheel was turned; NaN where nobody knows. None where there are none.
        truth: what is really to be seen in frames[t], by name, each (T, ...); for evaluation only.
        labels: what a world inferred, if it was asked.
    """

    frames: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    level_seed: int
    agent: str
    terminated: bool
    continuous_actions: np.ndarray | None = None
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
    _check_continuous(episode.continuous_actions, length)
    for name, array in episode.truth.items():
        if not name.isidentifier() or array.dtype.kind not in "biuf" or array.shape[:1] != (length,):
            raise ValueError(
                f"expected truth of numbers ({length}, ...) under a plain name, "
                f"got {name!r} {array.dtype} {array.shape}; convert or rename it"
            )
    if episode.labels is not None:
        _check_labels(episode.labels, length - 1)


def _check_continuous(actions: np.ndarray | None, length: int) -> None:
    if actions is None:
        return
    if actions.dtype != np.float32 or actions.ndim != 2 or len(actions) != length or np.isinf(actions).any():
        raise ValueError(
            f"expected continuous actions float32 ({length}, D), finite or NaN, got {actions.dtype} {actions.shape}; "
            "convert them, and give one row for each frame"
        )


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


@contextlib.contextmanager
def open_episode(path: Path) -> Iterator[Any]:
    """Opens an episode file for reading while the context is open, or says what is wrong with it.

    Raises:
        OSError: the system does not let it be read.
        ValueError: it is damaged or foreign.
    """
    dataset = import_h5py().Dataset
    with open_hdf5(path) as file:
        missing = [key for key in ("frames", "actions", "rewards") if not isinstance(file.get(key), dataset)]
        missing += ["a group truth"] if isinstance(file.get("truth"), dataset) else []
        if "labels" in file and not ("world" in file["labels"].attrs and "labels/latent_actions" in file):
            missing += ["whole labels"]
        missing += [key for key in ATTRIBUTES if key not in file.attrs]
        if file.attrs.get("format") != FORMAT or missing:
            raise ValueError(
                f"expected an episode in format {FORMAT}, got {path} without {missing or 'the mark'}; "
                "it is not of this store, move it elsewhere"
            )
        yield file


def read_episode(path: Path, frames: slice = slice(None)) -> Episode:
    """Reads a whole file, or of its frames only a part.

    Raises:
        OSError: the system does not let the file be read.
        ValueError: the file is damaged or foreign.
    """
    with open_episode(path) as file:
        return Episode(
            frames=file["frames"][frames],
            actions=file["actions"][:],
            rewards=file["rewards"][:],
            level_seed=int(file.attrs["level_seed"]),
            agent=str(file.attrs["agent"]),
            terminated=bool(file.attrs["terminated"]),
            continuous_actions=file["continuous_actions"][:] if "continuous_actions" in file else None,
            truth={name: file["truth"][name][:] for name in file.get("truth", ())},
            labels=_read_labels(file),
        )


def labelling_world(file) -> str | None:
    """The fingerprint of the world that labelled an open file, None where it has no labels."""
    return str(file["labels"].attrs["world"]) if "labels" in file else None


def _read_labels(file) -> EpisodeLabels | None:
    world = labelling_world(file)
    if world is None:
        return None
    there = {name: file["labels"][name][:] for name in LABELS if name in file["labels"]}
    return EpisodeLabels(world=world, **there)


class EpisodeWriter(HDF5Writer):
    """Writes one file whose frames come in pieces, so that memory does not grow with their number.

    A context manager. The file is an episode once `finish` was called, as `finished` says.
    """

    finished = False

    def __init__(self, path: Path, size: int):
        super().__init__(path)
        shape = (size, size, 3)
        self._frames = self.file.create_dataset(
            "frames",
            (0, *shape),
            np.uint8,
            maxshape=(None, *shape),
            chunks=(CHUNK_FRAMES, *shape),
            compression="gzip",
            compression_opts=4,
        )

    def append(self, frames: np.ndarray) -> None:
        """Adds frames uint8 (t, size, size, 3).

        Raises:
            OSError: the disk is full, or the like.
        """
        before = len(self._frames)
        self._frames.resize(before + len(frames), axis=0)
        self._frames[before:] = frames
        self.check()

    def finish(self, episode: Episode) -> None:
        """Adds all else; the frames of the episode that is given are not looked at.

        Raises:
            ValueError: shapes or dtypes do not fit the frames that were added.
        """
        check_episode(replace(episode, frames=self._frames), self._frames.shape[1])
        self.file.create_dataset("actions", data=episode.actions)
        self.file.create_dataset("rewards", data=episode.rewards)
        if episode.continuous_actions is not None:
            self.file.create_dataset("continuous_actions", data=episode.continuous_actions)
        for name, array in episode.truth.items():
            self.file.create_dataset(f"truth/{name}", data=array)
        if episode.labels is not None:
            for name in LABELS:
                if (array := getattr(episode.labels, name)) is not None:
                    self.file.create_dataset(f"labels/{name}", data=array)
            self.file["labels"].attrs["world"] = episode.labels.world
        for key in ATTRIBUTES:
            self.file.attrs[key] = getattr(episode, key)
        self.file.attrs["format"] = FORMAT
        self.finished = True
