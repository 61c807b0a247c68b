"""store.json, which says what an episode store holds: format, version, source, frame size, settings."""

import json
from pathlib import Path
from typing import Any

from flam_env.worlds.writing import write_atomically
from flam_train.store.episode import FORMAT

VERSION = 1
FIT = "fit"
"""The name, among the settings of a store, of how frames of videos became square."""


def read_header(root: Path) -> dict[str, Any]:
    """Source, size and settings of the store in a folder.

    Raises:
        ValueError: there is no folder, no store in it, or one of another version.
    """
    advice = "make a store with `flam-train collect`, or name the folder of one"
    if not root.is_dir():
        kind = "a file: a pack has not all the pixels that this needs" if root.is_file() else "no folder"
        raise ValueError(f"expected the folder of an episode store, got {root}, which is {kind}; {advice}")
    path = root / "store.json"
    if not path.exists():
        raise ValueError(f"expected an episode store with a store.json, got {root} without one; {advice}")
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"expected JSON in {path}, got something else ({error}); {advice}") from error
    if not isinstance(header, dict) or header.pop("format", None) != FORMAT:
        raise ValueError(f"expected a store.json with format {FORMAT!r}, got the foreign file {path}; {advice}")
    version = header.pop("version", None)
    if version != VERSION:
        raise ValueError(
            f"expected store version {VERSION}, got {version} in {path}; "
            "collect again, or use the release of flam-env that wrote it"
        )
    if set(header) != {"source", "size", "settings"}:
        raise ValueError(f"expected the keys source, size, settings in {path}, got {sorted(header)}; {advice}")
    return header


def write_header(root: Path, header: dict[str, Any]) -> None:
    """Writes source, size and settings; the file appears whole or not at all."""
    text = json.dumps({"format": FORMAT, "version": VERSION, **header}, indent=2)
    write_atomically(root / "store.json", f"{text}\n".encode())
