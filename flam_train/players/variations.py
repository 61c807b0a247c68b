"""Variations of labelled frames: a game that plays the same in a mirror teaches two or four times as much.

Procgen's first nine actions are a grid of directions: number 3 (x + 1) + y + 1 with x, y in -1, 0, 1, y upwards.
"""

import torch
from torch import Tensor

from flam_train.sources.procgen.games import distinct_actions

MIRRORS = {"bigfish": ("upright", "level"), "leaper": ("level",), "starpilot": ("upright",)}
"""Along which axes each game may be mirrored: what is up and down, or what is left and right."""

SHIFT = 2


def varied(
    game: str, frames: Tensor, values: Tensor, generator: torch.Generator, shift: int = SHIFT
) -> dict[str, Tensor]:
    """Mirrors each example or not, with equal chances along each axis of the game, and shifts all of them alike.

    Args:
        game: name of the game.
        frames: uint8 (B, H, W, 3).
        values: float (B, A), of the distinct actions.
        generator: decides.
        shift: largest shift in pixels; what leaves on one side comes in on the other.

    Returns:
        "frames" and "values", shaped as before.
    """
    for axis in MIRRORS[game]:
        chosen = torch.rand(len(frames), generator=generator) < 0.5
        flipped = frames.flip(1 if axis == "upright" else 2)
        frames = torch.where(chosen[:, None, None, None], flipped, frames)
        values = torch.where(chosen[:, None], values[:, mirrored_actions(game, axis)], values)
    moved = torch.randint(-shift, shift + 1, (2,), generator=generator).tolist()
    return {"frames": frames.roll(moved, dims=(1, 2)), "values": values}


def mirrored_actions(game: str, axis: str) -> list[int]:
    """For each distinct action of a game, the index of the one that does the same in the mirror."""
    actions = distinct_actions(game).tolist()
    upright, level = (lambda a: a - a % 3 + 2 - a % 3), (lambda a: 3 * (2 - a // 3) + a % 3)
    image = upright if axis == "upright" else level
    return [actions.index(image(action) if action < 9 else action) for action in actions]
