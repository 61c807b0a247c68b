"""What a camera of one log saw, as a film: the images that are there, cut where some are missing."""

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from flam_env.video.decoding import TimedFrame
from flam_env.video.images import import_pillow
from flam_train.sources.films.film import LETTERS, Film
from flam_train.sources.films.known_actions import KnownActions
from flam_train.sources.nuplan.database import POSE, LoggedImage, logged_images
from flam_train.sources.nuplan.ego_motion import NAMES, ego_motion
from flam_train.sources.nuplan.sensor_root import SensorRoot

SECOND, STEP, GAP = 1_000_000, 100_000, 150_000
"""In microseconds: images are a step apart, and those that are more than a gap apart do not belong together."""

Span = tuple[int, int]
"""First and last microsecond of what is wanted of a log."""


@dataclass(frozen=True)
class LogFilm(Film):
    """One camera of one log, at the camera's own rate: between images at others the car would have moved otherwise.

    Attributes:
        log: the database.
        root: where the images are.
        camera: its channel.
        size: of the frames that are made of its images; a JPEG is decoded no finer than they need.
        spans: what is wanted; None for all.
    """

    log: Path
    root: SensorRoot
    camera: str
    size: int
    spans: tuple[Span, ...] | None = None

    @property
    def origin(self) -> str:
        """Path of the database."""
        return str(self.log)

    @property
    def title(self) -> str:
        """Name of the log."""
        return self.log.stem

    def content(self) -> str:
        """A hash of the images that the log lists, whether they are there or not: a log is one film for ever."""
        digest = hashlib.sha256(self.camera.encode())
        for image in logged_images(self.log, self.camera):
            digest.update(image.token)
        return digest.hexdigest()[:LETTERS]

    def read(self) -> Iterator[TimedFrame]:
        """The images that are there; says by a warning how many are missing."""
        there, missing = self._images()
        if missing:
            count = f"{missing} of {missing + len(there)} images of {self.camera}"
            warnings.warn(f"{self.origin}: {count} are missing, and were skipped", stacklevel=2)
        first = there[0][0].timestamp
        for number, (image, file) in enumerate(there):
            start = image.timestamp - first
            yield TimedFrame(_read_jpeg(file, self.size), start / SECOND, (start + STEP) / SECOND, number)

    def rate(self) -> float | None:
        """Images a second where none is missing; None for a single one."""
        times = [image.timestamp for image, _ in self._images()[0]]
        steps = [after - before for before, after in pairwise(times) if 0 < after - before <= GAP]
        return SECOND / float(np.median(steps)) if steps else None

    def length(self) -> float:
        """How many images are there."""
        return len(self._images()[0])

    def breaks(self) -> tuple[int, ...]:
        """The images after gaps."""
        return _after_gaps([image for image, _ in self._images()[0]])

    def known_actions(self, kind: str) -> KnownActions:
        """How the car moved from each image to the next, real numbers whatever `kind` says."""
        images = [image for image, _ in self._images()[0]]
        poses = np.array([image.pose for image in images], np.float64).reshape(len(images), len(POSE))
        return KnownActions(ego_motion(poses, _after_gaps(images)), None, NAMES, self.origin)

    def _images(self) -> tuple[list[tuple[LoggedImage, Path]], int]:
        """The wanted images that are there, and how many are not.

        Raises:
            ValueError: there is none, or one lies outside the sensor root.
        """
        wanted = [image for image in logged_images(self.log, self.camera) if self._wants(image)]
        there = [(image, file) for image in wanted if (file := self.root.find(image.name)) is not None]
        if not there:
            raise ValueError(
                f"expected images of {self.camera} below {self.root.path}, got none of the {len(wanted)} that "
                f"{self.log} lists; {self.root.advice()}"
            )
        return there, len(wanted) - len(there)

    def _wants(self, image: LoggedImage) -> bool:
        return self.spans is None or any(first <= image.timestamp <= last for first, last in self.spans)


def _after_gaps(images: Sequence[LoggedImage]) -> tuple[int, ...]:
    """Which images do not follow the one before."""
    pairs = enumerate(pairwise(images), start=1)
    return tuple(number for number, (before, after) in pairs if after.timestamp - before.timestamp > GAP)


def _read_jpeg(file: Path, size: int) -> np.ndarray:
    """A picture uint8 (H, W, 3), both sides at least twice `size` where it has as many pixels."""
    image = import_pillow()
    try:
        with image.open(file, formats=("JPEG",)) as picture:
            picture.draft("RGB", (2 * size, 2 * size))
            return np.array(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, image.DecompressionBombError) as error:
        raise ValueError(
            f"expected a JPEG, got {file}, which cannot be read ({error}); copy it again, or move it elsewhere, since "
            "missing images are skipped"
        ) from error
