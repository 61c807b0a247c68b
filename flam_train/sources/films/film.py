"""A film, whatever holds it: what it is, how fast it runs, its frames, and what is known of what drove it."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flam_env.video.arrays import is_array, open_videos
from flam_env.video.content import content_hash
from flam_env.video.decoding import TimedFrame
from flam_env.video.images import list_images
from flam_env.video.rates import check_rate, resample
from flam_env.video.reader import read_timed, read_video, video_length, video_rate
from flam_train.sources.films.known_actions import KnownActions, read_beside

LETTERS = 12
"""Of a hash that tells films apart."""


class Film(ABC):
    """Frames that belong together; it is never in two splits, and travels to worker processes."""

    @property
    @abstractmethod
    def origin(self) -> str:
        """What it is called in messages and tables: its path, and which of several it is there."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What its episodes are called."""

    @abstractmethod
    def content(self) -> str:
        """A hash of what it shows: the same for copies, also in another container.

        Raises:
            ValueError: it cannot be read.
        """

    @abstractmethod
    def read(self) -> Iterator[TimedFrame]:
        """Its frames one by one; where nobody knows when they are shown, one a second.

        Raises:
            ValueError: while reading: it is damaged.
        """

    @property
    def timed(self) -> bool:
        """Whether it says when its frames are shown."""
        return False

    def rate(self) -> float | None:
        """Frames a second on average, None where nobody knows."""
        return None

    def frames(self, fps: float | None = None) -> Iterator[np.ndarray]:
        """Its frames uint8 (H, W, 3), as `read` gives them or brought to so many a second.

        Raises:
            ValueError: as for `read`, or `fps` is given and nobody knows when frames are shown.
        """
        return (each.frame for each in at_rate(self, self.read(), fps))

    def length(self) -> float:
        """About how many frames it has, 0 where nobody knows before it is read."""
        return 0.0

    def breaks(self) -> tuple[int, ...]:
        """Frames, ascending, with which another scene begins for certain, as after a gap of a recording."""
        return ()

    def known_actions(self, kind: str) -> KnownActions | None:
        """What was done, a row for each frame, None where nobody knows; `kind` as for `read_beside`.

        Raises:
            ValueError: a file beside it says nothing sensible.
        """
        return None


@dataclass(frozen=True)
class PathFilm(Film):
    """A video file, a folder of images, or frames of NumPy; what was done there may lie in a file beside it."""

    path: Path

    @property
    def origin(self) -> str:
        """Its path."""
        return str(self.path)

    @property
    def title(self) -> str:
        """Its name without ending."""
        return self.path.resolve().stem

    def content(self) -> str:
        """Of a file its pictures, however they are wrapped; of a folder its files, in their order."""
        if self.path.is_dir():
            return hash_of_files(list_images(self.path))
        if is_array(self.path):
            return hash_of_frames(read_video(self.path))
        return content_hash(self.path).hex()[:LETTERS]

    @property
    def timed(self) -> bool:
        """Whether it is a video file."""
        return not (self.path.is_dir() or is_array(self.path))

    def read(self) -> Iterator[TimedFrame]:
        """Its frames."""
        return read_timed(self.path) if self.timed else one_a_second(read_video(self.path))

    def rate(self) -> float | None:
        """What the file says."""
        return video_rate(self.path)

    def length(self) -> float:
        """Frames that the file says it has."""
        return video_length(self.path)

    def known_actions(self, kind: str) -> KnownActions | None:
        """What the file beside it says."""
        return read_beside(self.path, kind)


@dataclass(frozen=True)
class ArrayFilm(Film):
    """One video of several in a file of NumPy."""

    path: Path
    number: int

    @property
    def origin(self) -> str:
        """Path and number."""
        return f"{self.path}[{self.number}]"

    @property
    def title(self) -> str:
        """Name of the file and number."""
        return f"{self.path.resolve().stem}-{self.number}"

    def content(self) -> str:
        """A hash of the frames."""
        return hash_of_frames(open_videos(self.path)[self.number])

    def read(self) -> Iterator[TimedFrame]:
        """The frames."""
        return one_a_second(map(np.array, open_videos(self.path)[self.number]))

    def length(self) -> float:
        """Number of frames."""
        return open_videos(self.path).shape[1]


def at_rate(film: Film, frames: Iterable[TimedFrame], fps: float | None) -> Iterator[TimedFrame]:
    """Frames of a film brought to so many a second, as they are where none is given.

    Raises:
        ValueError: nobody knows when they are shown.
    """
    if fps is None:
        return iter(frames)
    if not film.timed:
        raise ValueError(
            f"expected a video file to bring to another fps, got {film.origin}, whose own rate nobody knows; leave fps "
            "out, and images that are too many"
        )
    return resample(frames, check_rate(fps))


def one_a_second(frames: Iterable[np.ndarray]) -> Iterator[TimedFrame]:
    """Frames of which nobody knows when they are shown."""
    return (TimedFrame(frame, float(i), i + 1.0, i) for i, frame in enumerate(frames))


def hash_of_files(files: Sequence[Path]) -> str:
    """Tells apart what lies in files, one after the other."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:LETTERS]


def hash_of_frames(frames: Iterable[np.ndarray]) -> str:
    """Tells apart frames by their pixels."""
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(f"{frame.shape}".encode() + np.ascontiguousarray(frame).tobytes())
    return digest.hexdigest()[:LETTERS]
