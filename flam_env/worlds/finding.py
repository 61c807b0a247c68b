"""Where a world lies: bundled with the package, or in a directory of one's own."""

import os
from pathlib import Path

BUNDLED = "bundled:"
"""What a name may begin with that means a bundled world, whatever folders there are."""
PRETRAINED = Path(__file__).parents[1] / "pretrained"
HOW_TO_FIT = {
    "nuplan": "flam-train import nuplan --logs DB... --sensor-root DIR --out data/nuplan; flam-train tokenizer "
    "data/nuplan --out runs/nuplan --preset nuplan; flam-train world-model data/nuplan --out runs/nuplan --preset "
    "nuplan; gym.make('FLAM-nuPlan-v0', checkpoint='runs/nuplan')"
}
"""Worlds with an id that come without weights, since their data are for those who have an account."""


def find_world(name: str | Path) -> Path:
    """The directory of a bundled world ("bigfish", or "bundled:bigfish" beyond doubt) or of one's own ("./bigfish").

    Raises:
        FileNotFoundError: neither exists; the message lists the bundled worlds.
        ValueError: what was given is no name and no path, or both at once.
    """
    if not isinstance(name, str | os.PathLike):
        raise ValueError(f"expected the name of a bundled world or a directory, got {name!r}; give a str or a Path")
    if isinstance(name, str) and name.startswith(BUNDLED):
        return _find_bundled(name.removeprefix(BUNDLED))
    own, text = Path(name), os.fspath(name)
    is_own = (own / "config.json").is_file()
    is_name = not {os.sep, os.altsep or os.sep} & set(text) and (PRETRAINED / text / "config.json").is_file()
    if isinstance(name, str) and is_own and is_name:
        raise ValueError(
            f"expected one world of that name, got {text!r}, which is a bundled world and a folder here; "
            f"give the folder as {os.path.join(os.curdir, text)!r}, or the bundled world as {BUNDLED + text!r}"
        )
    return own if is_own else _find_bundled(text)


def _find_bundled(name: str) -> Path:
    bundled = {path.parent.name: path.parent for path in PRETRAINED.glob("*/config.json")}
    if name in bundled:
        return bundled[name]
    if name in HOW_TO_FIT:
        raise FileNotFoundError(
            f"expected a world directory, got {name!r}, which comes without weights; fit it to data of your own: "
            f"{HOW_TO_FIT[name]}"
        )
    raise FileNotFoundError(
        f"expected a world directory with a config.json or one of {sorted(bundled)}, got {name!r}; a world is made by "
        "`flam-train tokenizer` and `flam-train world-model`"
    )


def is_bundled(directory: Path) -> bool:
    """Whether a directory belongs to the installed package, which nothing writes to."""
    return Path(directory).resolve().is_relative_to(PRETRAINED.resolve())


def check_writable(directory: Path) -> None:
    """Raises ValueError if a directory belongs to the installed package."""
    if is_bundled(directory):
        raise ValueError(
            f"expected a directory of one's own, got {directory}, a bundled world, which stays as it is; give another "
            "one, e.g. with --out"
        )
