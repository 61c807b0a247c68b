"""A film of long dreams that differ in what one slot does: does it steer what it holds, and that alone?"""

import numpy as np
import torch
from torch import Tensor

from flam_env.dream.dream import Dream
from flam_env.envs.choices import ChoiceControl
from flam_env.worlds.world import World
from flam_train.evaluate.rollouts import free_steps

CHOICES, HELD = 6, 12  # typical actions of the slot, and steps for which it takes each
COLUMNS = ("start {start}, nobody steers", "start {start}, slot {slot} steered")


def film_of_steering(
    dream: Dream, context: Tensor, starts: list[int], steps: int, slot: int, seed: int
) -> dict[str, np.ndarray]:
    """Frames of two dreams from each start, by the same chance: in one nobody acts, in the other a slot is steered.

    Args:
        dream: of the world.
        context: tokens (B, C, N).
        starts: what they are called.
        steps: H.
        slot: the one that is steered through a few typical actions, each held for some steps.
        seed: of all that is drawn, for both dreams.

    Returns:
        By label, uint8 (H, h, w, 3) each.

    Raises:
        ValueError: no such slot, or a world whose actions are not continuous.
    """
    if not 0 <= slot < dream.model.slots:
        raise ValueError(f"expected a slot of 0 to {dream.model.slots - 1}, got {slot}")
    chosen = torch.from_numpy(ChoiceControl(dream.world, CHOICES, seed, slot).codebook[0])

    def steer(step: int, actions: Tensor) -> Tensor:
        actions[:, slot] = chosen[step // HELD % len(chosen)]
        return actions

    both = []
    for steering in (None, steer):
        rolled = free_steps(dream, context, steps, torch.Generator().manual_seed(seed), steer=steering)
        both.append(torch.stack([frame for _, frame in rolled], 1).cpu().numpy())
    rows = dict[str, np.ndarray]()
    for start, *pair in zip(starts, *both, strict=True):
        rows |= {text.format(start=start, slot=slot): frames for text, frames in zip(COLUMNS, pair, strict=True)}
    return rows


def deciding_slot(world: World) -> int:
    """The slot whose actions in real videos differ most: the one that decides."""
    return int(world.starts.bank.float().var(0).sum(-1).argmax())
