"""The folder of a run: what it holds already, and that nobody else writes there.

A run of `fit` keeps its record in resume.safetensors, one whose parts are made one after another in run.json.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch.distributed as dist

from flam_env.worlds.checkpoint import parse_json
from flam_env.worlds.writing import is_vacant, write_atomically
from flam_train.engine.identity import RESUME_ADVICE, require_same
from flam_train.engine.locks import folder_lock
from flam_train.engine.log import METRICS_NAME
from flam_train.engine.plan import FitConfig, progress_of
from flam_train.engine.state import read_header

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

RESUME_NAME, RECORD_NAME = "resume.safetensors", "run.json"
MAY_DIFFER = frozenset({"fit.steps", "fit.minutes", "fit.log_every", "fit.checkpoint_minutes", "fit.graph"})
"""Keys of the record of `fit` that a resumed run may set differently."""


def is_finished(out: Path, config: FitConfig) -> bool:
    """Whether `out` holds a run to which this config has nothing to add."""
    path = Path(out) / RESUME_NAME
    if not path.exists():
        return False
    header = read_header(path)
    stopped = header.best is not None and header.best["stopped"]
    return stopped or progress_of(config, header.step, header.seconds).share >= 1


def check_folder(out: Path, config: FitConfig, record: dict[str, Any], product: Path | None) -> None:
    """Refuses a folder in which `fit` would not go on with this run, nor start it.

    Args:
        out: the folder.
        config: as it was asked for.
        record: what decides the run; its "fit" has the precision that is really used.
        product: as for `fit`.

    Raises:
        ValueError: the folder holds another run, or files without their run.
    """
    if (out / RESUME_NAME).exists():
        _check_record(out, config, record)
    elif (out / METRICS_NAME).exists():
        raise ValueError(
            f"{out}: expected an empty folder or a run, got {METRICS_NAME} without {RESUME_NAME}; "
            f"choose another output folder, or move {METRICS_NAME} away to start over"
        )
    elif product and product.exists():
        raise ValueError(
            f"{product}: expected no such file or the run that made it, got a file without its run in {out}; "
            "choose another output folder"
        )


def _check_record(out: Path, config: FitConfig, record: dict[str, Any]) -> None:
    """A finished run may be asked for in another precision: nothing is computed in it."""
    saved, used, advice = read_header(out / RESUME_NAME).record, record["fit"]["precision"], RESUME_ADVICE
    if config.precision == "auto" and saved.get("fit", {}).get("precision") != used:
        advice = f"{advice}: precision auto is {used} on this machine"
    free = MAY_DIFFER | {"fit.precision"} if is_finished(out, config) else MAY_DIFFER
    require_same(saved, record, where=out, may_differ=free, advice=advice)


@contextmanager
def alone_in(out: Path, *, main: bool, control: "ProcessGroup | None") -> Iterator[None]:
    """Holds the lock of a folder, which the main process takes for all; where that is refused, all are.

    Args:
        out: the folder, which is made.
        main: whether this is the main process.
        control: the processes that train together; None for one on its own.

    Raises:
        FolderInUseError: another process, which is not one of these, holds the lock.
    """
    with ExitStack() as stack:
        refusal: list[Exception | None] = [None]
        try:
            if main:
                stack.enter_context(folder_lock(out))
        except (ValueError, OSError) as error:
            refusal = [error]
        if control is not None:
            dist.broadcast_object_list(refusal, src=0, group=control)
        if refusal[0] is not None:
            raise refusal[0]
        yield


@contextmanager
def open_run(out: Path, record: dict[str, Any]) -> Iterator[None]:
    """Starts a run whose parts are made one after another, or goes on in its folder if it was made alike.

    While the context is open, nobody else can.

    Args:
        out: the folder.
        record: what decides the run, in values that JSON knows, or tuples.

    Raises:
        ValueError: the folder holds something else, or a run with another record, or somebody else goes on with it.
    """
    _check_run(out, record)  # before the folder is made, and again when nobody else can change it
    with folder_lock(out):
        _check_run(out, record)
        if not (out / RECORD_NAME).exists():
            write_atomically(out / RECORD_NAME, json.dumps(record, indent=2).encode())
        yield


def _check_run(out: Path, record: dict[str, Any]) -> None:
    path = out / RECORD_NAME
    if path.exists():
        require_same(parse_json(path.read_bytes(), path), record, where=out)
    elif not is_vacant(out):
        raise ValueError(f"expected an absent or empty folder, got {out}; name another folder")
