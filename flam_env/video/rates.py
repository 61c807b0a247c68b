"""Frames a second: of videos and of worlds, and bringing the one to the other."""

from collections.abc import Iterable, Iterator
from math import isfinite
from numbers import Real
from typing import Any

from flam_env.video.decoding import TimedFrame
from flam_env.warn import warn_user

ALIKE = 0.1  # rates that differ by at most this share are the same: 24 and 25, 29.97 and 30
TOLERANCE = 1.1e-3  # seconds; some containers round times to milliseconds, that of the first frame too


def check_rate(given: Any) -> float:
    """Frames a second that were given, as a float.

    Raises:
        ValueError: it is no positive, finite number.
    """
    if isinstance(given, bool) or not isinstance(given, Real) or not isfinite(given) or given <= 0:
        raise ValueError(f"expected fps to be frames a second, a number above 0, got {given!r}")
    return float(given)


def alike(one: float, other: float) -> bool:
    """Whether two rates count as the same."""
    return abs(one - other) <= ALIKE * max(one, other)


def warn_of_rate(rate: float | None, fps: float | None, world: float, what: str) -> None:
    """Warns of a video whose pace is not that of a world's videos, and says what to do.

    Args:
        rate: frames a second of the video, None where nobody knows.
        fps: what it is brought to, None for not at all; its own rate says that every frame is meant.
        world: frames a second of the videos that the world learned from.
        what: name of the video.
    """
    if rate is None or (fps is None and alike(rate, world)) or (fps is not None and alike(fps, rate)):
        return
    if fps is None:
        more, advice = "more", f"record it at {world:g} or more, or give"
        if rate > world:
            more, advice = "less", f"give fps={world:g} (--fps {world:g}) to label what it shows at that pace, or"
        warn_user(
            f"{what} has {rate:g} frames a second and the videos of this world had {world:g}, so between two frames "
            f"{more} happens than the world knows, and its labels are worse; {advice} fps={rate:g} (--fps {rate:g}) to "
            "label each of its frames all the same"
        )
    elif fps > rate:
        warn_user(f"{what} has {rate:g} frames a second: of {fps:g} some repeat the one before, as if all stood still")
    elif not alike(fps, world):
        warn_user(f"the videos of this world had {world:g} frames a second, but {what} is labelled at {fps:g}")


def resample(frames: Iterable[TimedFrame], fps: float) -> Iterator[TimedFrame]:
    """What a player shows at 0, 1 / fps, 2 / fps ... seconds after the first frame: frames are left out or repeated."""
    shown, first, due = None, 0.0, 0
    for frame in frames:
        first = frame.start if shown is None else first
        while shown is not None and due / fps < frame.start - first - TOLERANCE:
            yield shown
            due += 1
        shown = frame
    while shown is not None and due / fps < shown.end - first - TOLERANCE:
        yield shown
        due += 1
