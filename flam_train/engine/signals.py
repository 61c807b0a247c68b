"""How a training run is asked to stop: SIGTERM and Ctrl-C."""

import signal
import threading
from types import FrameType
from typing import Any


class Interrupts:
    """Turns SIGTERM and SIGINT into a number that the loop looks at; the second SIGINT acts at once."""

    def __init__(self):
        self.received = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():  # Python takes signal handlers only there
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, _: FrameType | None) -> None:
        self.received = number
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def leave(self, number: int) -> None:
        """Ends the program as the signal would have."""
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
