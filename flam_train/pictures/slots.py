"""`flam-train slots`: what each slot holds, and what it moves, as pictures."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch

from flam_env.dream.dream import Dream, pixel_masks
from flam_env.worlds.loading import load_world
from flam_train.evaluate.rollouts import context_and_actions, roll, roll_each_slot, sampled_actions
from flam_train.pictures.sheets import contact_sheet, write_png
from flam_train.store.clips import draw_clips
from flam_train.store.training_data import open_data

try:
    from tqdm import tqdm
except ImportError as error:
    raise ImportError("pictures of slots need tqdm: pip install 'flam-env[train]'") from error

DIMMED = 0.15
"""Brightness of a frame where a slot does not look."""


def slots(
    world: str,
    data: Path,
    *,
    out: Path = Path("slots"),
    split: Literal["val", "test"] = "test",
    clips: int = 2,
    horizon: int = 16,
    seed: int = 0,
    device: str = "auto",
) -> list[Path]:
    """Shows held-out clips slot by slot: `out/masks.png` and `out/steering.png`, every second frame of each.

    Masks: the real video, and below it for each slot the video as bright as the slot's mask is strong, so that one
    sees whether slots stay with what they hold (paper, Figures 7 and 9). Steering: the real future, the prediction
    from the actions inferred from it, and for each slot the same start with this slot's actions drawn from the
    world's bank at every step, those of all others as inferred (Figure 6).

    Args:
        world: name of a bundled world or directory of one's own.
        data: a store of any video, or a pack.
        out: folder for the pictures.
        split: which levels.
        clips: how many clips, from random places; fewer if the split has not as many.
        horizon: predicted frames.
        seed: of clips and of drawn actions.
        device: cpu, cuda or auto.

    Returns:
        The files that were written.

    Raises:
        FileNotFoundError: no such world.
        ValueError: no clip or no step is asked for, or the store has frames of another size or none that long.
    """
    if clips < 1 or horizon < 1:
        raise ValueError(f"expected clips >= 1 and horizon >= 1, got {clips} and {horizon}")
    dream = Dream(load_world(world), device)
    length = dream.world.settings.context + horizon
    drawn = draw_clips(open_data(data), split, clips, length, seed)
    random = torch.Generator().manual_seed(seed)
    pictures: dict[str, dict[str, np.ndarray]] = {"masks": {}, "steering": {}}
    for number, frames in enumerate(tqdm(drawn.frames, desc="dreaming", unit=" clips", leave=False, disable=None)):
        for name, rows in (("masks", mask_rows(dream, frames)), ("steering", steering_rows(dream, frames, random))):
            pictures[name] |= {f"clip {number}, {label}": row[::2] for label, row in rows.items()}
    for name, rows in pictures.items():
        write_png(Path(out) / f"{name}.png", contact_sheet(rows))
    return [Path(out) / f"{name}.png" for name in pictures]


@torch.inference_mode()
def mask_rows(dream: Dream, frames: np.ndarray) -> dict[str, np.ndarray]:
    """A clip, uint8 (T, H, W, 3), and for each slot the clip dimmed where the slot's share is small, of that shape."""
    watched = dream.model.observe(dream.encode(frames)[None])
    masks = pixel_masks(watched.masks[0], dream.tokenizer.config.image_size).cpu().numpy()
    light = DIMMED + (1 - DIMMED) * masks[..., None]
    rows = {f"mask of slot {k}": (frames * light[:, k]).astype(np.uint8) for k in range(masks.shape[1])}
    return {"real video": frames} | rows


@torch.inference_mode()
def steering_rows(dream: Dream, frames: np.ndarray, random: torch.Generator) -> dict[str, np.ndarray]:
    """What follows the context of a clip, uint8 (T, H, W, 3): really, as predicted, and with each slot steered.

    Returns:
        uint8 (T - context, H, W, 3) each.
    """
    context, actions = context_and_actions(dream, dream.encode(frames)[None])
    drawn = sampled_actions(dream.world, 1, actions.shape[1], random)
    predicted = roll(dream, context, actions)[0].cpu().numpy()
    steered = roll_each_slot(dream, context, actions, drawn).cpu().numpy()
    rows = {f"slot {k} takes drawn actions": video for k, video in enumerate(steered)}
    return {"real future": frames[context.shape[1] :], "prediction, all actions inferred": predicted} | rows
