"""Video files, frame by frame, as a player would show them: turned upright, in their colours, at their times.

PyAV is imported here only. Versions before 17 convert all but BT.601 of limited range to wrong colours.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from flam_env.warn import warn_user

OLDEST = 17
WHOLE = 0.9  # of the frames and of the time that a file promises: with less it breaks off
WIDEST = 8  # what says that its pixels are wider, or higher, is mistaken
HIGH_RANGE = (16, 18)  # transfer of the colours: PQ (SMPTE 2084) and HLG (ARIB STD-B67), as phones film
DRAWN = ("adf", "bin", "idf", "tty", "xbin")
"""Formats of text that FFmpeg would draw."""
TIMED = ("matroska", "mov", "flv", "asf", "ogg")
"""Formats whose header tells the time of the longest stream; elsewhere it is guessed from the size of the file."""


class TimedFrame(NamedTuple):
    """frame: uint8 (H, W, 3); start, end: seconds between which it is shown, from the beginning of the file on.

    number: how many frames of the file come before it.
    """

    frame: np.ndarray
    start: float
    end: float
    number: int


def file_rate(path: Path) -> float | None:
    """Frames a second of a video file on average, None where it does not say.

    Raises:
        ValueError: it is no video.
        ImportError: PyAV is missing or too old.
    """
    av = import_av()
    try:
        with av.open(f"file:{path}") as container:
            return _rate(moving_pictures(container, path))
    except (OSError, av.FFmpegError) as error:
        raise unreadable(path, error, 0) from error


def file_frames(path: Path) -> float:
    """About how many frames a video file has, as its header says; 0 where it does not.

    Raises:
        ValueError: it is no video.
        ImportError: PyAV is missing or too old.
    """
    av = import_av()
    try:
        with av.open(f"file:{path}") as container:
            stream = moving_pictures(container, path)
            promise = _promise(container, stream)
            return promise.frames or promise.seconds * (_rate(stream) or 0)
    except (OSError, av.FFmpegError) as error:
        raise unreadable(path, error, 0) from error


def read_file(path: Path) -> Iterator[TimedFrame]:
    """The frames of a video file one by one.

    Raises:
        ValueError: while reading: it is no video, damaged, or breaks off long before the end that it names.
        ImportError: PyAV is missing or too old.
    """
    av, count, turned, matrix = import_av(), 0, None, None
    try:
        with av.open(f"file:{path}") as container:
            stream = moving_pictures(container, path)
            promise = _promise(container, stream)
            clock = _Clock(1 / (_rate(stream) or 1))
            for picture in container.decode(stream):
                if not count and picture.color_trc in HIGH_RANGE:
                    warn_user(
                        f"{path} has colours of high dynamic range, which come out pale; convert it to BT.709 first"
                    )
                start, end = clock.tell(picture)
                pixels = picture.to_ndarray(format="rgb24", width=_shown_width(picture, stream))
                if turned != (turned := picture.rotation):
                    matrix = _matrix(picture)
                yield TimedFrame(_upright(pixels, matrix, path), start, end, count)
                count += 1
            if not count:
                raise ValueError(f"expected a video, got {path}, in which there is no whole picture; copy it again")
            promise.check(path, count, clock.end)
    except (OSError, av.FFmpegError) as error:
        raise unreadable(path, error, count) from error


def import_av() -> Any:
    """PyAV, or what to install."""
    advice = "video files are read with PyAV: pip install 'flam-env[video]'"
    try:
        import av
    except ImportError as error:
        raise ImportError(advice) from error
    if int(av.__version__.partition(".")[0]) < OLDEST:
        raise ImportError(
            f"expected PyAV {OLDEST} or newer, for older ones get colours wrong, got {av.__version__}; {advice}"
        )
    return av


def unreadable(path: Path, error: Exception, frames: int) -> ValueError:
    """What to say of a file of which PyAV says that it cannot read on after so many frames."""
    after = f" after {frames} frames" if frames else ""
    return ValueError(
        f"expected a video that PyAV can read, got {path}, which fails{after} ({error}); copy or encode it again"
    )


def moving_pictures(container: Any, path: Path) -> Any:
    """The stream of moving pictures of an open file, which the cover of a song is none of.

    Raises:
        ValueError: there is none.
    """
    av = import_av()
    if container.format.name in DRAWN:
        raise ValueError(f"expected a video, got {path}, which is text; leave it out")
    covers = av.stream.Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & covers]
    if not streams:
        found = "sound" if container.streams.audio else "something else"
        raise ValueError(f"expected a video, got {path} without moving pictures, only {found}; leave it out")
    return streams[0]


def _shown_width(picture: Any, stream: Any) -> int:
    """Columns of a picture as it is shown: pixels of old cameras and of discs are wider or narrower than high."""
    shape = stream.sample_aspect_ratio
    return max(1, round(picture.width * shape)) if shape and 1 / WIDEST < shape < WIDEST else picture.width


def _rate(stream: Any) -> float | None:
    """Frames a second: by count and time where the header tells both, for else it is told of the first few."""
    if stream.frames and stream.duration and stream.time_base:
        return stream.frames / float(stream.duration * stream.time_base)
    rate = stream.average_rate or stream.guessed_rate
    return float(rate) if rate else None


class _Clock:
    """Tells when each picture is shown; those without a time follow the one before."""

    def __init__(self, length: float):
        self._length, self._first, self.end = length, None, 0.0

    def tell(self, picture: Any) -> tuple[float, float]:
        """Start and end of the next picture, in seconds since the first."""
        base = picture.time_base
        if picture.pts is None:
            start = self.end
        else:
            self._first = picture.time if self._first is None else self._first
            start = picture.time - self._first
        self.end = start + (float(picture.duration * base) if picture.duration and base else self._length)
        return start, self.end


@dataclass(frozen=True)
class _Promise:
    """Frames and seconds that a file says it has, 0 where it does not say; and whether that can be relied on."""

    frames: int
    seconds: float
    reliable: bool

    def check(self, path: Path, frames: int, seconds: float) -> None:
        """Refuses a file that ends long before what it says, or warns of it.

        Where all the time was shown, frames were only left out, as players do with those that a cut hides.
        """
        few = frames < min(WHOLE * self.frames, self.frames - 1) if self.frames else True
        early = seconds < WHOLE * self.seconds if self.seconds else bool(self.frames)
        if not (few and early):
            return
        promised = f"{self.frames} frames" if self.frames else f"{self.seconds:.3g} s"
        found = f"{frames} frames" if self.frames else f"{seconds:.3g} s of pictures"
        if self.reliable:
            raise ValueError(
                f"expected the {promised} that {path} says it has, got {found}: it breaks off; copy it again, or "
                "encode what is left of it anew"
            )
        warn_user(f"{path} says that it has {promised}, but there are {found}: it may be cut off")


def _promise(container: Any, stream: Any) -> _Promise:
    seconds = float((stream.duration or 0) * (stream.time_base or 0)) or (container.duration or 0) / 1e6
    alone = len(container.streams) == 1 and any(name in container.format.name for name in TIMED)
    return _Promise(stream.frames, seconds, bool(stream.frames) or alone)


def _matrix(picture: Any) -> np.ndarray | None:
    """How a player turns the picture, int32 (3, 3): pixel (x, y) goes to (x, y) times this. None for not at all.

    Who asks PyAV for it keeps the picture in memory until garbage is collected, so not every picture is asked.
    """
    found = [bytes(data) for data in picture.side_data if data.type.name == "DISPLAYMATRIX"]
    return np.frombuffer(found[0], np.int32).reshape(3, 3) if found else None


def _upright(frame: np.ndarray, matrix: np.ndarray | None, path: Path) -> np.ndarray:
    """A frame (H, W, 3) turned and mirrored by quarters, as its matrix says."""
    if matrix is None or not matrix[:2, :2].any():
        return frame
    (a, b), (c, d) = matrix[:2, :2]
    if not (a or d):
        frame, a, d = frame.swapaxes(0, 1), c, b
    elif b or c:
        raise ValueError(f"expected a video turned by quarters, got {path}, turned otherwise; encode it upright")
    return np.ascontiguousarray(frame[:: 1 if d >= 0 else -1, :: 1 if a >= 0 else -1])
