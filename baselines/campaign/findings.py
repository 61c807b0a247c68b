"""What the reports of a plan say, as numbers by name; seeds of one training belong together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from baselines.campaign.data_sets import DATA_SETS
from baselines.campaign.methods import METHODS
from baselines.campaign.paper import DCI
from baselines.campaign.plans import Training
from baselines.campaign.reports import require_settings
from baselines.campaign.study import PROGRAM
from flam_train.studies.reports import read_reports

NOT_RUN = "not run"
"""What tables say in place of a finding that there is not."""
SHOWN = {"psnr": "scores.all.{}_psnr", "ssim": "scores.all.{}_ssim", "lpips": "lpips.scores.{}", "fvd": "fvd.scores.{}"}
"""Where a report has the scores of what is shown in place of the true future."""
PATHS = {
    **{name: path.format("prediction") for name, path in SHOWN.items()},
    **{f"{name}_{row}": path.format(row) for row in ("recon", "copy_last") for name, path in SHOWN.items()},
    "psnr_sampled": "scores.all.sampled_psnr",
    "psnr_posterior": "rate.posterior_sampled_psnr",
    "nats": "rate.nats",
    "frames_right": "factorization.exactness.frames_right",
    **{f"{random}{name}": f"factorization.dci.{random}{name}" for name in DCI for random in ("", "random_")},
    "consistency": "factorization.dci.owner_consistency",
    "parameters": "run.parameters",
    "steps": "run.steps",
    "seconds": "run.seconds",
    "objective": "run.objective",
    "rollouts": "run.looks.-1.eval/rollout_psnr",
    "clips": "clips",
}


@dataclass(frozen=True)
class Finding:
    """What the seeds of a training gave.

    numbers: of each of those that have a report, by name.
    """

    training: Training
    numbers: tuple[Mapping[str, float], ...]

    def values(self, name: str) -> list[float]:
        """A number of every seed that has it."""
        return [numbers[name] for numbers in self.numbers if name in numbers]

    def mean(self, name: str) -> float | None:
        """The mean of a number over seeds, None where there is none."""
        return fmean(found) if (found := self.values(name)) else None

    def deviation(self, name: str) -> float | None:
        """The standard deviation of a number over seeds, None where there are fewer than two."""
        return stdev(found) if len(found := self.values(name)) > 1 else None

    def cell(self, name: str, form: str) -> str:
        """The mean of a number, and its deviation over seeds if there are several; empty if there is none."""
        mean, deviation = self.mean(name), self.deviation(name)
        return "" if mean is None else f"{mean:{form}}" + ("" if deviation is None else f" ± {deviation:{form}}")

    def nats_cell(self) -> str:
        """The cell of the nats a frame, which says where they are of codes."""
        return self.cell("nats", ".1f") + (" (codes)" if METHODS[self.training.method].rate == "codes" else "")


Findings = Mapping[Training, Finding]
"""By the training of seed 0."""


def read_findings(folder: Path, trainings: Iterable[Training]) -> dict[Training, Finding]:
    """What the report files of a plan say; trainings without any have no finding.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: a file is damaged, belongs to no training, or is of one with other settings.
    """
    by_name = {training.name: training for training in trainings}
    reports = read_reports(folder, by_name.values(), PROGRAM)
    found: dict[Training, list[Mapping[str, float]]] = {}
    for name, report in reports.items():
        require_settings(report, by_name[name], Path(folder) / f"{name}.json")
        found.setdefault(replace(by_name[name], seed=0), []).append(_numbers(report))
    return {training: Finding(training, tuple(numbers)) for training, numbers in found.items()}


def read_machines(folder: Path, trainings: Iterable[Training]) -> list[str]:
    """On what the trainings with a report were made."""
    reports = read_reports(folder, trainings, PROGRAM)
    return sorted({report["run"]["machine"] for report in reports.values()})


def usual(findings: Findings, data: str, method: str, preset: str = "") -> Finding | None:
    """What a method gave on a data set at the usual price, if it was run; at the data set's sizes, if no others."""
    wanted = (data, method, None, preset or DATA_SETS[data].preset)
    for training, finding in findings.items():
        if (training.data, training.method, training.price, training.preset) == wanted:
            return finding
    return None


def _numbers(report: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, place in PATHS.items() if (value := _find(report, place)) is not None}


def _find(report: Any, place: str) -> Any:
    for name in place.split("."):
        if isinstance(report, list):
            report = report[int(name)] if report else None
        else:
            report = report.get(name) if isinstance(report, Mapping) else None
    return report
