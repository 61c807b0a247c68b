"""A study is many runs, each of which leaves one report file; what has one is not run again."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from flam_env.worlds.writing import write_atomically
from flam_train.engine.memory import available_memory
from flam_train.engine.processes import available_cores, logged, side_by_side


class Run(Protocol):
    """What is made and scored on its own."""

    @property
    def name(self) -> str:
        """Of the run's folder and of its report file."""


SomeRun = TypeVar("SomeRun", bound=Run)
SomeStudy = TypeVar("SomeStudy", bound="Study")


@dataclass(frozen=True, kw_only=True)
class Study:
    """Where the runs of a study are.

    Attributes:
        runs: folder of what they make and of their logs, one folder for each.
        reports: folder of the report files.
    """

    runs: Path
    reports: Path

    def folder(self, run: Run) -> Path:
        """What a run makes."""
        return self.runs / run.name

    def report(self, run: Run) -> Path:
        """The report file of a run."""
        return self.reports / f"{run.name}.json"

    def missing(self, runs: Iterable[SomeRun]) -> list[SomeRun]:
        """Runs that have no report yet, each once, in their order."""
        return [run for run in {run.name: run for run in runs}.values() if not self.report(run).exists()]


def make_reports(
    study: SomeStudy,
    runs: Iterable[SomeRun],
    make: Callable[[SomeRun, SomeStudy], Mapping[str, Any]],
    *,
    workers: int,
    memory: float,
    title: str,
) -> None:
    """Makes runs side by side, each in a process and on a core of its own.

    Args:
        study: where they are.
        runs: what is missing, in the order in which it is made.
        make: as for `make_report`; it can be pickled.
        workers: runs at once; 0 for one per core, as far as there is memory for them.
        memory: bytes that a run needs.
        title: of the progress bar, which says how many there are at once.

    Raises:
        ValueError: `workers` is negative.
        ChildProcessError: a run failed or was killed; make the others again to resume.
    """
    check_workers(workers)
    jobs = {run.name: partial(make_report, study, run, make) for run in runs}
    at_once = workers or max(1, min(available_cores(), len(jobs), int(min(available_memory() / memory, 1e6))))
    side_by_side(jobs, at_once, f"{title}, {at_once} at once")


def check_workers(workers: int) -> None:
    """Raises a ValueError if there cannot be so many workers."""
    if workers < 0:
        raise ValueError(f"expected workers >= 0, got {workers}; give 0 for as many as there are cores and memory for")


def make_report(study: SomeStudy, run: SomeRun, make: Callable[[SomeRun, SomeStudy], Mapping[str, Any]]) -> None:
    """Makes a run in this process, or what is left of it, and writes the report that `make` gives.

    What is printed goes to a log in the run's folder.
    """
    with logged(study.folder(run)):
        report = make(run, study)
    write_atomically(study.report(run), json.dumps(report, indent=1).encode())
