"""Is this the same run? One answer for whatever is resumed, extended, added to or compared.

What decides a run is its *record*: nested dicts of values that JSON knows, or tuples. It is kept beside what the run
makes, and compared, key by key, with the record of what is asked for next.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

Record = Mapping[str, Any]

RESUME_ADVICE = "choose another output folder, or use the same settings to resume"


class Difference(NamedTuple):
    """A key of nested records, such as "fit.seed", and its values; "absent" where a record lacks it."""

    key: str
    there: Any
    here: Any

    def __str__(self) -> str:
        return f"{self.key} {self.there} there, {self.here} here"


def as_json(record: Record) -> dict[str, Any]:
    """The record as JSON gives it back: tuples are lists."""
    return json.loads(json.dumps(record))


def differences(
    there: Record, here: Record, *, may_differ: Collection[str] = (), shared_only: bool = False
) -> list[Difference]:
    """Where two records say different things, by key; a key that one of them lacks equals None and an empty list.

    Args:
        there: what was made.
        here: what is asked for.
        may_differ: keys that do not count, such as "fit.steps".
        shared_only: pass over keys that one of them lacks, for records that learned new keys.
    """
    old, new = dict(_leaves(as_json(there))), dict(_leaves(as_json(here)))
    keys = old.keys() & new.keys() if shared_only else old.keys() | new.keys()
    return [
        Difference(key, old.get(key, "absent"), new.get(key, "absent"))
        for key in sorted(keys - set(may_differ))
        if _said(old, key) != _said(new, key)
    ]


def require_same(
    there: Record,
    here: Record,
    *,
    where: Path | str,
    kind: str = "a run",
    advice: str = RESUME_ADVICE,
    may_differ: Collection[str] = (),
    shared_only: bool = False,
) -> None:
    """Refuses to go on with what was made in another way.

    Args:
        there: what was made.
        here: what is asked for.
        where: the file or folder that was made, for the message.
        kind: what it is, for the message: "a run", "a store".
        advice: what to do about it, for the message.
        may_differ: as for `differences`.
        shared_only: as for `differences`.

    Raises:
        ValueError: naming every key that differs and may not, with both values, and those that may.
    """
    found = differences(there, here, may_differ=may_differ, shared_only=shared_only)
    if found:
        free = f" (only {', '.join(sorted(may_differ))} may differ)" if may_differ else ""
        raise ValueError(
            f"{where}: expected {kind} with the same settings, got {kind} that differs in "
            f"{', '.join(map(str, found))}; {advice}{free}"
        )


def _said(record: Record, key: str) -> Any:
    """What a key says, None where it says nothing: so fields may come and go."""
    return None if (value := record.get(key)) == [] else value


def _leaves(record: Record, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields ("a.b", value) for the leaves of nested dicts."""
    for key, value in record.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
