"""What follows in dreams while something chooses at every step: a batch of them, without episodes."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from flam_env.dream.dream import Dream, DreamState
from flam_env.envs.controls import Control, Scene


@torch.inference_mode()
def press(
    dream: Dream, control: Control, state: DreamState, keys: np.ndarray, generators: Sequence[np.random.Generator]
) -> Iterator[tuple[DreamState, Tensor]]:
    """The states of B dreams that follow, and their frames uint8 (B, h, w, 3), step by step, as keys are pressed.

    Args:
        dream: of the world.
        control: what keys are to it.
        state: of B dreams.
        keys: int (B, H), what the control takes.
        generators: the random stream of each dream, as an environment has its own.
    """
    count = len(keys)
    everyone, nowhere = np.ones(count, bool), np.full(count, -1)
    for step, pressed in enumerate(keys.T):
        scene = Scene(dream, state.frame, nowhere, np.full(count, step), everyone, generators)
        actions = torch.from_numpy(control(pressed, scene).actions)
        chance = [each.random(dream.chance, np.float32) for each in generators] if dream.chance else None
        state, frame = dream.step(state, actions, None if chance is None else torch.from_numpy(np.stack(chance)))
        yield state, frame
