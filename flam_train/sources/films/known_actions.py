"""What was done at each frame of a film, where somebody wrote it down: a table of CSV or NumPy beside the film."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

Kind = Literal["auto", "discrete", "continuous", "none"]

BESIDE = ("actions.csv", "actions.npy")
"""`clip.actions.csv` lies beside `clip.mp4` or the folder `clip`; in a folder of images it may be `actions.csv`."""

UNKNOWN = -1
FRAME = "frame"
"""Name of the column that says to which frame a row belongs."""
MOST = np.iinfo(np.int16).max


@dataclass(frozen=True, eq=False)
class KnownActions:
    """A row for each frame of a film: what was done there.

    values: int16 (T,), -1 where nobody knows; or float32 (T, D), NaN where nobody knows.
    frames: int64 (T,), the frame of each row, where the table says so; None where rows are frames.
    names: of the D columns, or of the only one.
    origin: the file.
    """

    values: np.ndarray
    frames: np.ndarray | None
    names: tuple[str, ...]
    origin: str

    @property
    def discrete(self) -> bool:
        """Whether actions are numbers of choices."""
        return self.values.ndim == 1

    def of(self, numbers: np.ndarray, offset: int = 0) -> np.ndarray:
        """The rows of some frames of the film, where none is known an unknown one.

        Args:
            numbers: int64 (N,), of the frames.
            offset: row 0 belongs to this frame; negative, so many rows are left out.
        """
        at = numbers - offset
        rows = at if self.frames is None else np.searchsorted(self.frames, at)
        known = (rows >= 0) & (rows < len(self.values))
        if self.frames is not None:
            known[known] = self.frames[rows[known]] == at[known]
        unknown = UNKNOWN if self.discrete else np.nan
        found = np.full((len(numbers), *self.values.shape[1:]), unknown, self.values.dtype)
        found[known] = self.values[rows[known]]
        return found

    def check(self, length: int, offset: int = 0) -> None:
        """Raises a ValueError unless there is a row for each of so many frames, but maybe for the last.

        A table that says of which frames its rows are may leave some out.
        """
        first = offset + (0 if self.frames is None else int(self.frames[0]))
        last = offset + (len(self.values) - 1 if self.frames is None else int(self.frames[-1]))
        if last >= length or (self.frames is None and last < length - 2):
            raise ValueError(
                f"expected a row of {self.origin} for each of the {length} frames of the film, got {len(self.values)} "
                f"for frames {first} to {last}; write one for each, say with --action-offset to which frame the first "
                f"belongs, or add a column {FRAME!r}"
            )


def read_beside(path: Path, kind: str) -> KnownActions | None:
    """The table beside a film, None where there is none.

    Args:
        path: of a file, or of a folder of images.
        kind: "discrete" or "continuous"; "auto" takes one column of whole numbers as discrete; "none" looks at nothing.

    Raises:
        ValueError: there are two, or it holds something else than numbers.
    """
    if kind == "none":
        return None
    places = [path.with_name(f"{path.stem if path.is_file() else path.name}.{name}") for name in BESIDE]
    places += [path / name for name in BESIDE] if path.is_dir() else []
    there = [place for place in places if place.is_file()]
    if len(there) > 1:
        raise ValueError(f"expected one table of actions for {path}, got {' and '.join(map(str, there))}; leave one")
    if not there:
        return None
    table = _read_csv(there[0]) if there[0].suffix == ".csv" else _read_npy(there[0])
    return known_actions(*table, kind, str(there[0]))


def known_actions(table: np.ndarray, names: Sequence[str], kind: str, origin: str) -> KnownActions:
    """The actions of a table of numbers, float64 (T, D); NaN says that nobody knows.

    Args:
        table: what was done, and maybe a column of frames.
        names: of its columns.
        kind: as for `read_beside`.
        origin: where the table came from.

    Raises:
        ValueError: there is no row or no column, a number that is infinite or, of a discrete action, no choice.
    """
    frames = None
    if FRAME in names:
        at = list(names).index(FRAME)
        frames, table = table[:, at], np.delete(table, at, 1)
        names = [name for name in names if name != FRAME]
        if not (np.isfinite(frames).all() and (frames == frames.round()).all() and (np.diff(frames) > 0).all()):
            raise ValueError(
                f"expected ascending whole numbers in the column {FRAME!r} of {origin}, got others; sort it"
            )
        if len(frames) and frames[0] < 0:
            raise ValueError(f"expected frames of 0 or more in {origin}, got {frames[0]:g}; count from 0")
    if 0 in table.shape:
        raise ValueError(
            f"expected rows of actions in {origin}, got {table.shape[0]} of {table.shape[1]} columns; leave it out"
        )
    if np.isinf(table).any():
        raise ValueError(f"expected finite numbers in {origin}, got an infinite one in row {_row(np.isinf(table))}")
    whole = table.shape[1] == 1 and _choices(table[:, 0])
    if kind == "discrete" and not whole:
        raise ValueError(
            f"expected one column of whole numbers from {UNKNOWN} to {MOST} in {origin}, got {table.shape[1]} columns "
            "with others; say --actions continuous"
        )
    discrete = whole and kind != "continuous"
    values = np.nan_to_num(table[:, 0], nan=UNKNOWN).astype(np.int16) if discrete else table.astype(np.float32)
    return KnownActions(values, None if frames is None else frames.astype(np.int64), tuple(names), origin)


def _choices(column: np.ndarray) -> bool:
    known = column[~np.isnan(column)]
    return bool((known == known.round()).all() and (known >= UNKNOWN).all() and (known <= MOST).all())


def _row(wrong: np.ndarray) -> int:
    return int(np.flatnonzero(wrong.any(1))[0])


def _read_npy(path: Path) -> tuple[np.ndarray, list[str]]:
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(f"expected numbers of NumPy in {path}, got something else ({error}); save it again") from error
    if found.dtype.kind not in "biuf" or found.ndim not in (1, 2):
        raise ValueError(f"expected numbers (T,) or (T, D) in {path}, got {found.dtype} {found.shape}; convert them")
    table = (found[:, None] if found.ndim == 1 else found).astype(np.float64)
    return table, [f"action {i}" for i in range(table.shape[1])]


def _read_csv(path: Path) -> tuple[np.ndarray, list[str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row or [""] for row in csv.reader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"expected a table of CSV in {path}, got something else ({error}); save it as UTF-8"
        ) from error
    while rows and rows[-1] == [""]:
        rows.pop()
    if not rows:
        raise ValueError(f"expected rows of actions in {path}, got none; leave it out")
    named = not all(map(_is_number, rows[0]))
    names = [cell.strip() for cell in rows[0]] if named else [f"action {i}" for i in range(len(rows[0]))]
    if len(set(names)) < len(names):
        raise ValueError(f"expected a name for each column of {path}, all different, got {names}; rename some")
    for number, row in enumerate(rows[named:], start=1 + named):
        wrong = [cell for cell in row if not _is_number(cell)]
        if wrong or len(row) != len(names):
            found = f"{wrong[0]!r}" if wrong else f"{len(row)} cells"
            raise ValueError(
                f"expected {len(names)} numbers in line {number} of {path}, got {found}; leave a cell empty where "
                "nobody knows"
            )
    numbers = [[float(cell) if cell.strip() else np.nan for cell in row] for row in rows[named:]]
    return np.array(numbers, np.float64).reshape(len(numbers), len(names)), names


def _is_number(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return not cell.strip()
    return True
