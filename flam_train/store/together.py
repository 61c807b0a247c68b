"""Several episodes that come to a store together, or not at all: the scenes of one film."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from flam_env.worlds.writing import scratch
from flam_train.store.episode import EpisodeWriter
from flam_train.store.store import EpisodeStore


class Together:
    """Episodes that wait until all are finished. Made by `adding_together`.

    Attributes:
        names: of those that were finished, without ending; to be set before the block ends.
    """

    def __init__(self, folder: Path, size: int):
        self._folder, self._size = folder, size
        self._finished = list[Path]()
        self.names: list[str] = []

    @contextlib.contextmanager
    def adding(self) -> Iterator[EpisodeWriter]:
        """Writes the next episode, which waits if it was finished and is given up otherwise."""
        path = self._folder / f"{len(self._finished)}.h5"
        with EpisodeWriter(path, self._size) as writer:
            yield writer
        if writer.finished:
            self._finished.append(path)
        else:
            path.unlink()

    def move(self, folder: Path) -> None:
        """Gives the episodes their names."""
        for name, path in zip(self.names, self._finished, strict=True):
            with path.open("rb") as content:
                os.fsync(content.fileno())
            os.replace(path, folder / f"{name}.h5")


@contextlib.contextmanager
def adding_together(store: EpisodeStore, split: str) -> Iterator[Together]:
    """Adds several episodes to a split, which appear when the block ends, and none of them if that fails.

    Where the process is killed while they appear, some are there; who adds them again under the same names takes their
    places.

    Raises:
        OSError: the disk is full, or the like.
    """
    with scratch(store.root / split) as folder:
        together = Together(folder, store.size)
        yield together
        together.move(store.root / split)
