"""`python -m baselines.campaign rollouts`: the same clips as each method predicts them (paper, Figures 10 to 14)."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from baselines.campaign.campaign import HORIZON
from baselines.campaign.data_sets import DATA_SETS, find_data
from baselines.campaign.methods import METHODS
from baselines.campaign.plans import PLANS, Training
from baselines.campaign.study import PROGRAM
from flam_env.dream.dream import Dream
from flam_env.worlds.loading import load_world
from flam_train.evaluate.rollouts import roll_methods
from flam_train.pictures.sheets import contact_sheet, write_png
from flam_train.store.clips import draw_clips
from flam_train.store.training_data import open_data

SHOWN_STEPS = (1, 2, 4, 6, 8, 10, 12, 14, 16)


def rollouts(
    *,
    plan: Literal["cpu", "gpu", "tiny"] = "cpu",
    of: str = "multigrid",
    data: Path = Path("data"),
    runs: Path = Path("runs/campaign"),
    clips: int = 2,
    seed: int = 0,
    out: Path = Path("rollouts.png"),
) -> Path:
    """Draws what each method predicts of the same held-out clips under inferred actions, below the true frames.

    Args:
        plan: whose worlds, those of seed 0 at the usual price.
        of: the data set, as `multigrid` or `bigfish`. Methods whose world is not in `runs` are left out.
        data: folder of packs and stores, as the trainings had it.
        runs: folder of the worlds.
        clips: how many, from random places.
        seed: of the choice of clips.
        out: the picture, a PNG.

    Returns:
        The file that was written.

    Raises:
        FileNotFoundError: no world of that data set is there, or its data are not.
        ValueError: there is no such data set, or no clip is asked for.
    """
    if of not in DATA_SETS or clips < 1:
        raise ValueError(f"expected a data set of {', '.join(DATA_SETS)} and clips >= 1, got {of!r} and {clips}")
    worlds = {training: Path(runs) / plan / training.name for training in _usual(plan, of)}
    found = {training: folder for training, folder in worlds.items() if (folder / "config.json").is_file()}
    if not found:
        raise FileNotFoundError(
            f"expected worlds of {of} in {Path(runs) / plan}, found none; train some with `{PROGRAM} --plan {plan} "
            f"--only {of}`"
        )
    predicted = [[*_predicted(training, folder, data, clips, seed)] for training, folder in found.items()]
    sheets = []
    for of_clip in zip(*predicted, strict=True):
        rows = {title: frames for of_method in of_clip for title, frames in of_method.items()}
        rows["Recon"] = rows.pop("Recon")  # which all have in common, comes last
        sheets.append(contact_sheet(rows, scale=1))
    write_png(Path(out), np.concatenate(sheets))
    return Path(out)


def _usual(plan: str, data: str) -> list[Training]:
    """The first training of each method on a data set at its usual price, of seed 0: that at the usual sizes."""
    usual: dict[str, Training] = {}
    for training in PLANS[plan]:
        if training == replace(training, data=data, price=None, seed=0):
            usual.setdefault(training.method, training)
    return list(usual.values())


def _predicted(training: Training, folder: Path, data: Path, clips: int, seed: int) -> Iterator[dict[str, np.ndarray]]:
    """Rows of the sheet of each clip: the true frames, those of the method, and Recon."""
    dream = Dream(load_world(folder), "cpu")
    store = open_data(find_data(data, training.data, dream.tokenizer.config.image_size))
    length = dream.world.settings.context + HORIZON
    drawn = draw_clips(store, "test", clips, length, seed, known=dream.model.actions.known)
    titles = f"true, steps {', '.join(map(str, SHOWN_STEPS))}", METHODS[training.method].title, "Recon"
    for rolled in roll_methods(dream, drawn):
        shown = torch.stack([rolled.true, rolled.methods["prediction"], rolled.methods["recon"]], 1)
        for clip in shown[:, :, torch.tensor(SHOWN_STEPS) - 1].numpy():
            yield dict(zip(titles, clip, strict=True))
