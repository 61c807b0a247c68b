"""The folder of a run whose parts are made one after another: one run, with one set of arguments."""

import json
from pathlib import Path
from typing import Any

from flam_env.checkpoint import parse_json, write_atomically
from flam_train.engine.identity import as_json, require_same

FILE = "run.json"


def open_run(out: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Starts a folder, or goes on in it if it was made alike.

    Args:
        out: the folder.
        record: what decides the run, in values that JSON knows, or tuples.

    Returns:
        The record as JSON gives it back.

    Raises:
        ValueError: the folder holds something else, or a run with another record.
    """
    path, record = Path(out) / FILE, as_json(record)
    if not path.exists():
        if path.parent.exists() and (not path.parent.is_dir() or any(path.parent.iterdir())):
            raise ValueError(f"expected an absent or empty folder, got {out}; name another folder")
        write_atomically(path, json.dumps(record, indent=2).encode())
    require_same(parse_json(path.read_bytes(), path), record, where=out)
    return record
