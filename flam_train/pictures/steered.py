"""A film of long dreams that differ in what one slot does: does it steer what it holds, and that alone?"""

import numpy as np
import torch
from torch import Tensor

from flam_env.dream.dream import Dream
from flam_env.envs.choices import ChoiceControl
from flam_env.worlds.world import World
from flam_train.evaluate.rollouts import draw_chance, drawn_actions

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
    free, steered = _roll(dream, context, steps, seed), _roll(dream, context, steps, seed, slot, chosen)
    rows = dict[str, Tensor]()
    for start, *pair in zip(starts, free, steered, strict=True):
        rows |= {text.format(start=start, slot=slot): frames for text, frames in zip(COLUMNS, pair, strict=True)}
    return {label: frames.cpu().numpy() for label, frames in rows.items()}


def deciding_slot(world: World) -> int:
    """The slot whose actions in real videos differ most: the one that decides."""
    return int(world.starts.bank.float().var(0).sum(-1).argmax())


@torch.inference_mode()
def _roll(
    dream: Dream, context: Tensor, steps: int, seed: int, slot: int | None = None, chosen: Tensor | None = None
) -> Tensor:
    """Frames uint8 (B, H, h, w, 3)."""
    random, state, frames = torch.Generator().manual_seed(seed), dream.reset(context), []
    for step in range(steps):
        actions, chance = drawn_actions(dream, state, random), draw_chance(dream, len(context), random)
        if slot is not None and chosen is not None:
            actions[:, slot] = chosen[step // HELD % len(chosen)]
        state, frame = dream.step(state, actions, chance)
        frames.append(frame)
    return torch.stack(frames, 1)
