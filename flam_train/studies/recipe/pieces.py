"""Work in pieces: a process is asked to end in time, and goes on where it was when it is started again."""

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class PieceOver(Exception):  # noqa: N818 (nothing went wrong)
    """The time of a piece is over; what was saved is there to go on with."""


def end_of_piece(minutes: float) -> float:
    """The deadline of a piece that begins now and takes so many minutes, as `time.time` counts; 0 is without end."""
    return time.time() + 60 * minutes if minutes else math.inf


@contextmanager
def piece(deadline: float) -> Iterator[None]:
    """Asks this process, as SIGTERM would, to end what it does at a time: a training ends with a checkpoint.

    Whatever else SIGTERM finds unwinds as by an error, so that no file is left half-written. To be entered in the main
    thread.

    Args:
        deadline: in seconds as `time.time` counts them; infinite for none.

    Raises:
        PieceOver: the time was over before the work was done.
    """
    if time.time() >= deadline:
        raise PieceOver
    over = threading.Event()

    def end() -> None:
        over.set()
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, _leave)
    timer = threading.Timer(min(deadline - time.time(), threading.TIMEOUT_MAX), end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except SystemExit as left:
        if not over.is_set():
            raise
        raise PieceOver from left
    finally:
        timer.cancel()
        signal.signal(signal.SIGTERM, before)


def _leave(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)
