"""Whether a report is its training's, and what it lacks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from baselines.campaign.plans import Training
from baselines.campaign.settings import settings
from baselines.campaign.study import Campaign
from flam_train.engine.identity import as_json, require_same
from flam_train.evaluate.evaluate import Metric
from flam_train.evaluate.report import read_report
from flam_train.studies.reports import ADVICE

PARTS: dict[Metric, tuple[str, ...]] = {
    "pixels": ("scores",),
    "dci": ("factorization", "dci"),
    "exactness": ("factorization", "exactness"),
}
"""Where a report has a metric, if not under its name."""


def is_done(training: Training, campaign: Campaign) -> bool:
    """Whether a training has a report that says all that it should."""
    return lacking(training, campaign) == ()


def lacking(training: Training, campaign: Campaign) -> tuple[Metric, ...] | None:
    """The metrics that the report of a training does not have; None if there is no report."""
    path = campaign.report(training)
    return missing_metrics(path, campaign.metrics(training)) if path.exists() else None


def missing_metrics(path: Path, metrics: tuple[Metric, ...]) -> tuple[Metric, ...]:
    """Those that a report file does not have, or all if there is none."""
    report = read_report(path) if path.exists() else {}

    def lacks(metric: Metric) -> bool:
        found: Any = report
        for part in PARTS.get(metric, (metric,)):
            found = found.get(part, {})
        return not found

    return tuple(filter(lacks, metrics))


def check_report(training: Training, campaign: Campaign) -> None:
    """Refuses a report that would pass for this training's, or one that lacks a metric and cannot get it.

    Raises:
        ValueError: it is of a training with other settings, or damaged.
        FileNotFoundError: it lacks a metric, and its world is gone.
    """
    path, folder = campaign.report(training), campaign.folder(training)
    if path.exists():
        require_settings(read_report(path), training, path)
    if (missing := lacking(training, campaign)) and not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"expected the world of {training.name} in {folder}, to add {', '.join(missing)} to its report, found "
            f"none; bring it back, ask for less with --perceptual, or move {path} away to train it anew"
        )


def require_settings(report: Mapping[str, Any], training: Training, path: Path) -> None:
    """Refuses a report of other settings than those that decide a training now.

    Args:
        report: its content.
        training: that it should be of.
        path: where it was, for the message.

    Raises:
        ValueError: it is of a training with other settings, or says nothing of any.
    """
    there, here = report.get("run", {}).get("settings", {}), as_json(settings(training))
    require_same(there, here, where=path, kind=f"a report of {training.name}", advice=ADVICE)
