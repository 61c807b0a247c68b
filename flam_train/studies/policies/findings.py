"""What the report files of the policies of a game say, by arm."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from flam_train.engine.identity import require_same
from flam_train.studies.policies.runs import RUNS, Run
from flam_train.studies.reports import ADVICE, read_reports

COMMAND = "flam-train policies"
RUN_KEYS = ("arm", "labels", "seed")
"""Settings that tell one run of a study from another."""


@dataclass(frozen=True, kw_only=True)
class ArmScores:
    """The runs of one arm with one number of labels, one for each seed.

    Attributes:
        arm: flam, supervised, vanilla, all-labels, demonstrator or random.
        labels: how many it learned from; None for the bound and the players.
        reports: of its runs.
    """

    arm: str
    labels: int | None
    reports: Sequence[Mapping[str, Any]]

    @property
    def returns(self) -> list[float]:
        """Mean return of each run on unseen levels."""
        return [report["levels"]["mean_return"] for report in self.reports]

    @property
    def mean(self) -> float:
        """Mean return."""
        return fmean(self.returns)

    @property
    def standard_error(self) -> float:
        """Of the mean return over seeds, each of which learned anew; NaN for one seed, which cannot tell."""
        return stdev(self.returns) / math.sqrt(len(self.returns)) if len(self.returns) > 1 else math.nan

    @property
    def episodes(self) -> int:
        """Played by all runs together."""
        return sum(report["levels"]["episodes"] for report in self.reports)

    def average(self, part: str, name: str) -> float | None:
        """Mean over the runs of a number in a part of the reports; None where there is none."""
        found = [report[part][name] for report in self.reports if part in report]
        return fmean(found) if found else None


def read_arms(folder: Path) -> dict[tuple[str, int | None], ArmScores]:
    """All arms of a game that have a report, in the order of the runs.

    Raises:
        FileNotFoundError: there is no such folder, or no report in it.
        ValueError: a file in it is damaged, belongs to no run, or its settings differ from those of the others.
    """
    found = read_reports(folder, RUNS, COMMAND)
    if not found:
        raise FileNotFoundError(f"expected reports in {folder}, found none; `{COMMAND}` makes them")
    reports = {run: _checked(found[run.name], run, folder / f"{run.name}.json") for run in RUNS if run.name in found}
    _check_alike(folder, reports)
    arms: dict[tuple[str, int | None], list[Mapping[str, Any]]] = defaultdict(list)
    for run, report in reports.items():
        arms[run.arm, run.labels].append(report)
    return {(arm, labels): ArmScores(arm=arm, labels=labels, reports=found) for (arm, labels), found in arms.items()}


def _checked(report: Mapping[str, Any], run: Run, path: Path) -> Mapping[str, Any]:
    there = {name: report.get("settings", {}).get(name) for name in RUN_KEYS}
    kind = f"a report of {run.name}"
    require_same(there, asdict(run), where=path, kind=kind, advice=ADVICE)
    if "levels" not in report:
        raise ValueError(f"{path}: expected {kind}, got a file without the levels that were played; {ADVICE}")
    return report


def _check_alike(folder: Path, reports: Mapping[Run, Mapping[str, Any]]) -> None:
    """A comparison is one only if all had the same demonstrations, network and budget."""
    first, *others = reports
    for run in others:
        require_same(
            reports[run]["settings"],
            reports[first]["settings"],
            where=folder / f"{run.name}.json",
            kind="a report",
            may_differ={*RUN_KEYS, "fit.seed"},
            advice=f"a table compares like with like: move {run.name} or {first.name} away, and run it again",
        )
    told = [
        report["pseudo_labels"] for run, report in reports.items() if run.arm == "flam" and "pseudo_labels" in report
    ]
    worlds = {labels["world"] for labels in told}
    if len(worlds) > 1:
        raise ValueError(
            f"{folder}: expected pseudo labels of one world, got {sorted(worlds)}; move away those of others"
        )
