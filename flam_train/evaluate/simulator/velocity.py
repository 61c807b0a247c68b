"""Does a slot know how fast its entity moves? A linear probe of the entity's horizontal velocity.

A world that is told little must know the motion of things itself, or its dreams drift: an error of a third of a pixel a
step is five pixels after 16 steps. Velocities come from elsewhere, e.g. from entities that were followed in the pixels.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from flam_env.dream.dream import Dream, pixel_masks
from flam_train.engine.examples import split_episodes

FRAMES = slice(8, 16)  # by then a world has seen enough
HELD_OUT = 0.25  # share of the clips
RIDGE = 1e-3  # weight of the squared weights of standardised inputs, a share of the examples
MOVES = 0.25  # px a step, from which on the sign of a velocity means something


class Held(NamedTuple):
    """Entities with the slots that hold them: slots (P, S), velocities (P,), clips int64 (P,), whose they are."""

    slots: Tensor
    velocities: Tensor
    clips: Tensor


def horizontal_velocities(masks: np.ndarray) -> np.ndarray:
    """How fast entities move, by where their centres are in the frames before and after.

    Args:
        masks: bool (T, E, H, W), the pixels of each.

    Returns:
        float64 (T, E) in px a step; NaN where an entity is absent, or absent before or after, or reaches the left or
        right edge in one of the three, where its centre is not seen.
    """
    columns = masks.sum(2)
    whole = columns.any(-1) & (columns[..., 0] == 0) & (columns[..., -1] == 0)
    centres = columns @ np.arange(columns.shape[-1]) / np.where(whole, columns.sum(-1), 1)
    centres[~whole] = np.nan
    velocities = np.full_like(centres, np.nan)
    velocities[1:-1] = (centres[2:] - centres[:-2]) / 2
    velocities[~whole] = np.nan
    return velocities


def holding_slots(masks: Tensor, entities: Tensor) -> Tensor:
    """Masks (..., K, H, W) and entities' pixels bool (..., E, H, W) -> the slot of most of each, int64 (..., E)."""
    return torch.einsum("...khw,...ehw->...ek", masks, entities.to(masks.dtype)).argmax(-1)


@torch.inference_mode()
def held_entities(dream: Dream, frames: np.ndarray, entities: np.ndarray) -> Held:
    """What a world's slots are while entities move, in the frames 8 to 15.

    Args:
        dream: of a world.
        frames: uint8 (B, T, H, W, 3), T >= 17.
        entities: int (B, T, H, W), the entity of each pixel, 0 for none; the same number in two frames of a clip is
            the same entity.

    Raises:
        ValueError: clips that are too short.
    """
    if frames.shape[1] <= FRAMES.stop:
        raise ValueError(f"expected clips of {FRAMES.stop + 1} frames or more, got {frames.shape[1]}; draw longer ones")
    found = list(_each_clip(dream, frames, entities))
    return Held(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def _each_clip(dream: Dream, frames: np.ndarray, entities: np.ndarray) -> Iterator[Held]:
    for clip, (video, numbered) in enumerate(zip(frames, entities, strict=True)):
        seen = dream.model.observe(dream.encode(video[: FRAMES.stop])[None]).at(FRAMES)
        numbers = np.unique(numbered[numbered > 0])
        masks = numbered[:, None] == numbers[:, None, None]
        velocities = torch.from_numpy(horizontal_velocities(masks)[FRAMES])
        holding = holding_slots(pixel_masks(seen.masks[0].cpu(), video.shape[1]), torch.from_numpy(masks[FRAMES]))
        times, places = velocities.isfinite().nonzero().unbind(-1)
        slots = seen.slots[0].cpu().float()[times, holding[times, places]]
        yield Held(slots, velocities[times, places], torch.full_like(times, clip))


def velocity_scores(held: Held, seed: int = 0) -> dict[str, float]:
    """How well a linear probe tells velocities from slots, on clips that it was not fitted on.

    Args:
        held: of at least two clips.
        seed: decides which clips are held out.

    Returns:
        r2: share of the variance that is explained; error_px: mean error in px a step; sign_right: share of the
        entities that move by a quarter of a pixel or more whose direction is told; speed_px: mean speed, in px a step;
        entities: how many the scores are of.

    Raises:
        ValueError: fewer than two clips with entities.
    """
    fitted, scored = map(torch.from_numpy, split_episodes(held.clips.numpy(), HELD_OUT, seed))
    slots, true = held.slots.double(), held.velocities.double()
    told = ridge_predictions(slots[fitted], true[fitted], slots[scored])
    true = true[scored]
    moves = true.abs() >= MOVES
    return {
        "r2": (1 - (told - true).square().sum() / (true - true.mean()).square().sum()).item(),
        "error_px": (told - true).abs().mean().item(),
        "sign_right": (told.sign() == true.sign())[moves].double().mean().item(),
        "speed_px": true.abs().mean().item(),
        "entities": float(len(true)),
    }


def ridge_predictions(inputs: Tensor, targets: Tensor, others: Tensor) -> Tensor:
    """Fits inputs (P, S) -> targets (P,) by ridge regression, and tells the targets of others: (Q, S) -> (Q,)."""
    mean, spread = inputs.mean(0), inputs.std(0, correction=0).clamp(min=1e-6)
    x, y = (inputs - mean) / spread, targets - targets.mean()
    penalty = RIDGE * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
    weight = torch.linalg.solve(x.T @ x + penalty, x.T @ y)
    return (others - mean) / spread @ weight + targets.mean()
