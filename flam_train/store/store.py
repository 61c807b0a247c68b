"""Episodes on disk: one HDF5 file per episode, readable while a collection is still writing.

    root/store.json                    format, version, source, frame size, settings of the collection
    root/<split>/<episode id>.h5       frames (gzip, chunks of 16 frames), actions, rewards, truth, labels; attributes

In a store whose settings name a `world`, all labels are of that world, and in others there are none.
Every file is written under a temporary name and renamed, so a killed process loses at most the episode in flight.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flam_env.worlds.writing import is_vacant, replacing, sweep
from flam_train.engine.identity import as_json, require_same
from flam_train.engine.locks import folder_lock
from flam_train.store.episode import (
    Episode,
    EpisodeWriter,
    check_episode,
    labelling_world,
    open_episode,
    read_episode,
)
from flam_train.store.header import read_header, write_header

__all__ = ["SPLITS", "Episode", "EpisodeRecord", "EpisodeStore"]

SPLITS = ("train", "val", "test")
ADVICE = "use another folder, or the same settings to resume"
_EPISODE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True, kw_only=True)
class EpisodeRecord:
    """What the store knows of an episode without reading its frames."""

    path: Path
    split: str
    frames: int
    agent: str
    level_seed: int


class EpisodeStore:
    """A folder of episodes; make one with `create` or `open`, not with the constructor."""

    def __init__(self, root: Path, *, source: str, size: int, settings: dict[str, Any]):
        self.root = Path(root)
        self.source = source
        self.size = size
        self.settings = settings
        self._records: dict[Path, EpisodeRecord] = {}

    def __getstate__(self) -> dict[str, Any]:
        """What travels to another process: all but the records, which are read anew there."""
        return self.__dict__ | {"_records": {}}

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, in a fixed order."""
        return SPLITS

    @classmethod
    def create(cls, root: Path | str, *, source: str, size: int, settings: dict[str, Any]) -> "EpisodeStore":
        """Starts a store in an absent or empty folder, or resumes the one there if it was made alike.

        Args:
            root: folder of the store.
            source: where the frames come from, e.g. "procgen/bigfish".
            size: height and width of the frames in pixels.
            settings: JSON-able; everything that decides what the episodes contain.

        Raises:
            ValueError: the folder holds something else, or a store with another source, size or settings.
        """
        root = Path(root)
        wanted: dict[str, Any] = {"source": source, "size": size, "settings": as_json(settings)}
        if not (root / "store.json").exists():
            _begin(root, wanted)
        require_same(read_header(root), wanted, where=root, kind="a store", advice=ADVICE)
        store = cls(root, **wanted)
        store.sweep()
        return store

    @classmethod
    def open(cls, root: Path | str) -> "EpisodeStore":
        """Opens a store for reading; it may still be growing.

        Raises:
            ValueError: no folder, no store in it, another version, or not one episode yet.
        """
        root = Path(root)
        store = cls(root, **read_header(root))
        if not any(True for split in SPLITS for _ in (root / split).glob("*.h5")):
            raise ValueError(
                f"expected at least one episode, got the empty store {root}; "
                "fill it first, e.g. with `flam-train collect`"
            )
        return store

    def sweep(self) -> None:
        """Deletes what writers left half-written that are no longer alive."""
        for folder in (self.root, *filter(Path.is_dir, self.root.iterdir())):
            sweep(folder)

    def episodes(self, split: str) -> list[EpisodeRecord]:
        """All finished episodes of one split, sorted by file name; files seen before are not opened again.

        Raises:
            ValueError: unknown split, or a file that is no episode of this store.
        """
        self._check_split(split)
        folder = self.root / split
        names = sorted(name for name in os.listdir(folder) if name.endswith(".h5")) if folder.is_dir() else []
        for name in names:
            if folder / name not in self._records:
                self._records[folder / name] = self._inspect(folder / name, split, folder / name)
        return [self._records[folder / name] for name in names]

    def frames(self, split: str) -> int:
        """Number of frames in a split."""
        return sum(record.frames for record in self.episodes(split))

    def identity(self) -> dict[str, Any]:
        """What a training run records of its data, so that it is not resumed on other data."""
        return {"source": self.source, "settings": self.settings, "frames": self.frames("train")}

    def read(self, record: EpisodeRecord) -> Episode:
        """Reads a whole episode.

        Raises:
            ValueError: the file is truncated or foreign.
        """
        return read_episode(record.path)

    def read_frames(self, record: EpisodeRecord, start: int, stop: int) -> np.ndarray:
        """Reads frames[start:stop], uint8 (stop - start, H, W, 3), decompressing only the chunks concerned.

        Raises:
            ValueError: the range leaves the episode, or the file is truncated or foreign.
        """
        if not self.has_frames(record, start, stop):
            raise ValueError(
                f"expected 0 <= start < stop <= {record.frames} in {record.path}, "
                f"got start {start}, stop {stop}; ask for frames that exist"
            )
        with open_episode(record.path) as file:
            return file["frames"][start:stop]

    def has_frames(self, record: EpisodeRecord, start: int, stop: int) -> bool:
        """Whether frames[start:stop] of an episode exist."""
        return 0 <= start < stop <= record.frames

    def annotations(self, record: EpisodeRecord) -> Episode:
        """What is known of an episode: all but its frames, of which it has none here.

        Raises:
            ValueError: the file is truncated or foreign.
        """
        return read_episode(record.path, slice(0))

    def write(self, split: str, episode: Episode, *, name: str | None = None) -> EpisodeRecord:
        """Adds one episode; it appears whole or not at all.

        Args:
            split: "train", "val" or "test".
            episode: what to write; frames must have the size of the store.
            name: file name without ending; by default "<agent>-<first free number>".

        Raises:
            ValueError: shapes, dtypes, split, name or labels do not fit.
        """
        self._check_split(split)
        check_episode(episode, self.size)
        if name is None:
            with folder_lock(self.root / split, wait=True, name=".naming"):  # else two writers take one number
                return self.write(split, episode, name=_free_name(self.root / split, episode.agent))
        with self.adding(split, name) as writer:
            writer.append(episode.frames)
            writer.finish(episode)
        return self._records[self.root / split / f"{name}.h5"]

    @contextmanager
    def adding(self, split: str, name: str) -> Iterator[EpisodeWriter]:
        """Adds one episode whose frames come in pieces; it appears when the block ends, and not if that fails.

        Raises:
            ValueError: split, name or labels do not fit, or the episode was not finished.
        """
        self._check_split(split)
        if not _EPISODE_ID.fullmatch(name):
            raise ValueError(f"expected a name or agent of letters, digits, - and _, got {name!r}; rename it")
        path = self.root / split / f"{name}.h5"
        with replacing(path) as temporary:
            with EpisodeWriter(temporary, self.size) as writer:
                yield writer
            if not writer.finished:
                raise ValueError(f"expected a finished episode, got the unfinished {path}; end with writer.finish")
            record = self._inspect(temporary, split, path)
        self._records[path] = record

    def _check_split(self, split: str) -> None:
        if split not in SPLITS:
            raise ValueError(f"expected a split out of {', '.join(SPLITS)}, got {split!r}; name one of them")

    def _inspect(self, there: Path, split: str, path: Path) -> EpisodeRecord:
        """The record of a file, as it will be under its final path."""
        with open_episode(there) as file:
            shape = file["frames"].shape
            if shape[1:] != (self.size, self.size, 3):
                raise ValueError(
                    f"expected frames of {self.size} x {self.size} x 3 in {path}, got {shape[1:]}; "
                    "move the file to a store of its own size"
                )
            world, own = labelling_world(file), self.settings.get("world")
            if world not in (None, own):
                raise ValueError(
                    f"expected {f'labels of the world {own}' if own else 'no labels'} in {path}, "
                    f"got those of the world {world}; keep the labels of a world in a store of their own"
                )
            return EpisodeRecord(
                path=path,
                split=split,
                frames=int(shape[0]),
                agent=str(file.attrs["agent"]),
                level_seed=int(file.attrs["level_seed"]),
            )


def _free_name(folder: Path, agent: str) -> str:
    number = sum(1 for _ in folder.glob(f"{agent}-*.h5"))
    while (folder / f"{agent}-{number:06d}.h5").exists():
        number += 1
    return f"{agent}-{number:06d}"


def _begin(root: Path, header: dict[str, Any]) -> None:
    """Makes an absent or empty folder a store, unless another process has just done so."""
    if is_vacant(root):
        with folder_lock(root, wait=True, name=".beginning"):
            if is_vacant(root):
                write_header(root, header)
    if not (root / "store.json").exists():
        raise ValueError(
            f"expected an absent or empty folder, got {root}, which holds something else; name another folder"
        )
