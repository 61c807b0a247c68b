"""The films of an import, worked off side by side, with a bar that counts their frames."""

import tempfile
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from flam_train.engine.processes import worker_processes
from flam_train.sources.films.episodes import FilmImport, FilmRecord

try:
    from tqdm import tqdm
except ImportError as error:
    raise ImportError("importing needs tqdm: pip install 'flam-env[train]'") from error

LOOK = 0.5
"""Seconds between two looks at how far films are."""

Outcome = FilmRecord | str


def work_off(jobs: Sequence[FilmImport], workers: int, strict: bool) -> tuple[list[FilmRecord], dict[str, str]]:
    """Imports films; what came of those that are whole, and why others are left out, by what they are called.

    Args:
        jobs: which.
        workers: processes; one film or one process needs none but this.
        strict: end with the first that is left out.

    Raises:
        ValueError: strict, and a film is left out.
        OSError: the store cannot be written.
        ChildProcessError: a worker was killed.
    """
    done, refused = list[FilmRecord](), dict[str, str]()
    work = _in_turn if min(workers, len(jobs)) < 2 else _side_by_side
    with closing(work(jobs, workers)) as outcomes:
        for job, outcome in outcomes:
            if isinstance(outcome, FilmRecord):
                done.append(outcome)
            elif strict:
                raise ValueError(outcome)
            else:
                refused[job.probed.film.origin] = outcome
    return done, refused


def _attempt(job: FilmImport) -> Outcome:
    """The record of a film, or why there is none."""
    try:
        return job.run()
    except ValueError as error:
        return str(error)


def _in_turn(jobs: Sequence[FilmImport], workers: int) -> Generator[tuple[FilmImport, Outcome]]:
    with _bar(jobs) as bar:
        for job in jobs:
            yield job, _attempt(replace(job, watch=bar.update))


def _side_by_side(jobs: Sequence[FilmImport], workers: int) -> Generator[tuple[FilmImport, Outcome]]:
    with tempfile.TemporaryDirectory() as folder, _bar(jobs) as bar:
        counter = Path(folder) / "frames"
        frames = np.memmap(counter, np.int64, "w+", shape=(len(jobs),))
        with worker_processes(min(workers, len(jobs))) as pool:
            running: dict[Future[Outcome], FilmImport] = {
                pool.submit(_attempt, replace(job, watch=Counter(counter, row))): job for row, job in enumerate(jobs)
            }
            while running:
                finished = wait(running, LOOK, FIRST_COMPLETED).done
                bar.update(int(frames.sum()) - bar.n)
                for future in finished:
                    yield running.pop(future), future.result()


def _bar(jobs: Sequence[FilmImport]) -> tqdm:
    total = round(sum(job.probed.length for job in jobs))
    return tqdm(total=total or None, desc="import", unit=" frames", smoothing=0.05, disable=None)


class Counter:
    """Counts in a file that another process looks at, in a row of its own; it travels to a worker."""

    def __init__(self, path: Path, row: int):
        self.path, self.row = path, row

    def __call__(self, frames: int) -> None:
        """Adds some frames."""
        np.memmap(self.path, np.int64, "r+")[self.row] += frames
