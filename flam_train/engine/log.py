"""Where a training run writes its numbers: metrics.jsonl, TensorBoard and the progress bar."""

import json
import math
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from flam_env.worlds.writing import write_atomically

try:
    from torch.utils.tensorboard import SummaryWriter
    from tqdm import tqdm
except ImportError as error:
    raise ImportError("training needs tensorboard and tqdm: pip install 'flam-env[train]'") from error

METRICS_NAME = "metrics.jsonl"


class RunLog:
    """Log of one run; silent and without files where `active` is False (all processes but the main one).

    Lines of metrics.jsonl and TensorBoard events after `step` belong to work that a kill has undone; they are
    dropped when the log opens.

    Args:
        out: the run's folder.
        step: the optimiser step that the run stands at.
        total: where the progress bar ends: optimiser steps, or seconds of training for a timed run.
        done: where the progress bar stands now, in the same unit.
        unit: "step" or "s".
    """

    def __init__(self, out: Path, *, step: int, total: float, done: float, unit: str, active: bool):
        self.active = active
        self.latest: dict[str, float] = {}
        if not active:
            return
        kept = _read_lines(out / METRICS_NAME, step)
        write_atomically(out / METRICS_NAME, "".join(json.dumps(line) + "\n" for line in kept).encode())
        self._file = (out / METRICS_NAME).open("a")
        self._board = SummaryWriter(str(out / "tensorboard"), purge_step=step + 1)
        quick = 0.5 if sys.stderr.isatty() else 30.0
        self._bar = tqdm(
            total=round(total), initial=round(done), unit=unit, desc=out.name, mininterval=quick, leave=True
        )

    def advance(self, done: float) -> None:
        """Moves the progress bar to `done` (steps or seconds)."""
        if self.active:
            self._bar.update(min(round(done), self._bar.total) - self._bar.n)

    def line(self, step: int, seconds: float, values: dict[str, float], *, group: str) -> None:
        """Writes one line of metrics.jsonl and the same numbers to TensorBoard.

        Args:
            step: optimiser steps done.
            seconds: seconds of training done.
            values: names and numbers; what is not finite becomes null in the file.
            group: TensorBoard's tag prefix, "train" or "eval"; "eval" also prefixes the names in the file.
        """
        names = {f"eval/{name}" if group == "eval" else name: number for name, number in values.items()}
        self.latest |= names
        if not self.active:
            return
        finite = {name: number if math.isfinite(number) else None for name, number in names.items()}
        self._file.write(json.dumps({"step": step, "time": round(seconds, 3), **finite}) + "\n")
        self._file.flush()
        for name, number in values.items():
            self._board.add_scalar(f"{group}/{name}", number, step)
        if group == "train":
            self._bar.set_postfix_str(
                f"{values['frames_per_second']:,.0f} frames/s, loss {values['loss']:.4g}", refresh=False
            )

    def flush(self) -> None:
        """Hands everything written so far to the operating system, as before a checkpoint."""
        if self.active:
            self._board.flush()

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the files and the bar."""
        if self.active:
            self._bar.close()
            self._board.close()
            self._file.close()


def last_metrics(out: Path, step: int) -> dict[str, float]:
    """Latest value of every metric written up to `step`; empty if nothing was written."""
    merged: dict[str, float] = {}
    for line in _read_lines(out / METRICS_NAME, step):
        merged |= {name: value for name, value in line.items() if value is not None}
    return {name: value for name, value in merged.items() if name not in ("step", "time")}


def log_lines(out: Path) -> list[dict[str, Any]]:
    """The lines of the log of a run, in order; none if it has not begun."""
    return _read_lines(out / METRICS_NAME, sys.maxsize)


def _read_lines(path: Path, step: int) -> list[dict[str, Any]]:
    """Lines up to `step`. A kill can leave a torn last line: reading ends at the first line that is none."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(errors="replace").splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            break
        if not isinstance(line, dict) or "step" not in line:
            break
        if line["step"] <= step:
            lines.append(line)
    return lines
