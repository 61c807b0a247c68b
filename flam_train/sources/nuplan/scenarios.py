"""Where scenarios of some types are in a log, as nuplan-devkit tells. The devkit is imported here only."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from flam_train.sources.nuplan.log_film import SECOND, Span

SECONDS = 20
"""How long a scenario lasts from the moment that is tagged, the devkit's own default."""


def scenario_spans(log: Path, types: Sequence[str]) -> tuple[Span, ...]:
    """What of a log lies in scenarios of some types, ascending; those that overlap are one span.

    The devkit knows scenarios but in the first two and the last two scenes of a log.

    Raises:
        ValueError: the log cannot be read, or holds none.
        ImportError: the devkit, or what it needs for this, is missing.
    """
    query = import_scenario_query()
    if not log.is_file():  # SQLite would make one as the devkit opens it
        raise ValueError(f"expected the database of a log, got {log}, which is no file; name a .db of nuPlan")
    try:
        starts = sorted(row["timestamp"] for row in query(str(log), None, list(types), None))
    except sqlite3.Error as error:
        raise ValueError(
            f"expected the database of a log of nuPlan, got {log} ({error}); copy it again, or name another one"
        ) from error
    if not starts:
        raise ValueError(f"expected scenarios of the types {', '.join(types)} in {log}, got none; leave it out")
    return tuple(_joined(starts))


def _joined(starts: Sequence[int]) -> Iterator[Span]:
    first, last = starts[0], starts[0] + SECONDS * SECOND
    for start in starts:
        if start > last:
            yield first, last
            first = start
        last = start + SECONDS * SECOND
    yield first, last


def import_scenario_query() -> Callable[..., Iterator[Any]]:
    """The devkit's query for scenarios, or what to install."""
    try:
        from nuplan.database.nuplan_db.nuplan_scenario_queries import get_scenarios_from_db
    except ImportError as error:
        raise ImportError(
            f"scenario types are nuplan-devkit's ({error}), which is on no package index: git clone "
            "https://github.com/motional/nuplan-devkit && pip install ./nuplan-devkit pyquaternion shapely scipy "
            "geopandas; or leave --scenario-types out"
        ) from error
    return get_scenarios_from_db
