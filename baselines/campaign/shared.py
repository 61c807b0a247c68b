"""What trainings share, a data set its tokenizer and a seed its slots: learned by whoever needs them first."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from baselines.campaign.methods import SLOTS
from baselines.campaign.plans import Training
from baselines.campaign.settings import training_arguments
from baselines.savi import FILE as SLOTS_FILE
from baselines.savi import slots
from flam_env.worlds.checkpoint import as_written
from flam_env.worlds.writing import write_atomically
from flam_train.engine.folder import MAY_DIFFER, RESUME_NAME
from flam_train.engine.identity import require_same
from flam_train.engine.locks import folder_lock
from flam_train.engine.state import read_header
from flam_train.phases.tokenizer import FILE as TOKENIZER_FILE
from flam_train.phases.tokenizer import tokenizer
from flam_train.store.training_data import open_data

LOCK = ".campaign"
FREE = MAY_DIFFER - {"fit.steps", "fit.minutes"} | {"fit.precision"}
"""What a run may have set differently from its plan: `fit` goes on for more steps, and takes a longer run for done."""


def share_tokenizer(training: Training, data: Path, shared: Path, out: Path) -> None:
    """Puts the tokenizer of a store into the folder of a training: that of a bundled world, or one that is learned now.

    One that lies in the shared folder without its run is taken as it is.

    Args:
        training: that needs it.
        data: the store.
        shared: the folder of the tokenizer.
        out: the folder of the training.

    Raises:
        ValueError: it was learned with other settings than the plan says.
    """
    if training.bundled is not None:
        copy_whole(training.bundled / TOKENIZER_FILE, out)
        return
    preset = training.data_set.preset_at(training.preset)
    identity = {"model": as_written(preset.tokenizer)} | open_data(data).identity()
    with folder_lock(shared, wait=True, name=LOCK):
        require_planned(shared / "training" / "tokenizer", {"fit": asdict(preset.tokenizer_fit), "identity": identity})
        if not (shared / TOKENIZER_FILE).exists():
            tokenizer(data, out=shared, model=preset.tokenizer, fit_config=preset.tokenizer_fit)
    copy_whole(shared / TOKENIZER_FILE, out)


def share_slots(training: Training, data: Path, shared: Path, out: Path, evaluate_every: int) -> Path:
    """The file of the slots of a seed, learned on the tokenizer that the training has, if its data does not bring one.

    Args:
        training: that needs them.
        data: a store or a pack.
        shared: the folder of the slots.
        out: the folder of the training.
        evaluate_every: steps between looks at held-out clips.

    Raises:
        ValueError: they were learned with other settings than the plan says, on other data or another tokenizer.
    """
    with folder_lock(shared, wait=True, name=LOCK):
        if (out / TOKENIZER_FILE).exists() and not (shared / TOKENIZER_FILE).exists():
            copy_whole(out / TOKENIZER_FILE, shared)
        learn_slots(training, data, shared, evaluate_every)
    return shared / SLOTS_FILE


def learn_slots(training: Training, data: Path, out: Path, evaluate_every: int) -> None:
    """Learns slots, or goes on; where they are learned already, sees that they are those of the plan.

    Raises:
        ValueError: they were learned with other settings than the plan says, on other data or another tokenizer.
    """
    arguments = training_arguments(training, SLOTS)
    require_planned(out / "training" / "slots", {"fit": asdict(arguments["fit_config"])})
    slots(data, out=out, evaluate_every=evaluate_every, **arguments)


def require_planned(log: Path, planned: Mapping[str, Any]) -> None:
    """Refuses a run of `fit` that was begun otherwise than a plan says; there need not be one.

    Args:
        log: its folder, in that of a world.
        planned: parts of its record.

    Raises:
        ValueError: naming what differs.
    """
    path = log / RESUME_NAME
    if path.exists():
        record = read_header(path).record
        there = {part: record[part] for part in planned}
        require_same(there, planned, where=log, may_differ=FREE, advice=f"move {log.parents[1]} away to make it anew")


def copy_whole(file: Path, folder: Path) -> None:
    """Copies a file into a folder, where it appears whole or not at all."""
    write_atomically(folder / file.name, file.read_bytes())
