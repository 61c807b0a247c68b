"""What the runs of a study have left: their report files, and what was seen while they trained."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flam_train.engine.log import METRICS_NAME
from flam_train.evaluate.report import read_report
from flam_train.studies.runs import Run

ADVICE = "move it away and run it again"
"""What to do about a report that does not belong to its run."""


def read_reports(folder: Path, runs: Iterable[Run], command: str) -> dict[str, dict[str, Any]]:
    """The reports in a folder by the names of their runs, in the order of the runs.

    Args:
        folder: of the report files.
        runs: all that there may be.
        command: what makes them, for the message.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: a file in it is damaged, or belongs to no run.
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"expected a folder of reports at {folder}, found none; `{command}` makes it")
    paths = {path.stem: path for path in sorted(Path(folder).glob("*.json"))}
    names = list(dict.fromkeys(run.name for run in runs))
    if strange := sorted(set(paths) - set(names)):
        raise ValueError(f"{folder}: expected reports of runs only, got {strange}; move them away")
    return {name: read_report(paths[name]) for name in names if name in paths}


def training_looks(folder: Path, measure: str) -> list[dict[str, Any]]:
    """The lines of a training's log in which something was measured, in order, numbers by name.

    Args:
        folder: of the training.
        measure: name of one of the numbers.
    """
    lines = map(json.loads, (folder / METRICS_NAME).read_text().splitlines())
    return [line for line in lines if measure in line]
