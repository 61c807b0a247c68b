"""Latent actions as users give and draw them: a vector in [-3, 3]^A for each slot, in action units, or a code."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete, Space
from torch import Tensor

from flam_env.dream.dream import Dream
from flam_env.models.action_spaces import ContinuousActions
from flam_env.models.protocol import ActionPrior, Observed
from flam_env.worlds.units import BOUND, clip_to_box
from flam_env.worlds.world import World

Source = Literal["prior", "bank"]


def slot_count(world: World) -> int:
    """How many slots take latent actions: K, or 1 where one action moves the whole scene."""
    return world.model.actions.slots


def latent_action_space(world: World) -> Space:
    """What a step takes.

    Returns:
        The box of latent actions, float32 (K, A) in [-3, 3]; where actions are codes, one of them for each slot, or
        Discrete for a model of one; for a model without actions the one choice to go on, Discrete(1).
    """
    actions = world.model.actions
    if isinstance(actions, ContinuousActions):
        return Box(-BOUND, BOUND, world.action_shape, np.float32)
    return Discrete(actions.codes) if actions.slots == 1 else MultiDiscrete([actions.codes] * actions.slots)


def slot_action_space(world: World) -> Box:
    """The box of one slot's latent action, float32 (A,) in [-3, 3].

    Raises:
        ValueError: the actions of the world are no vectors.
    """
    if not isinstance(world.model.actions, ContinuousActions):
        raise ValueError(
            f"expected a world whose latent actions are vectors, got one with {world.model.actions}; take its actions "
            "as they are"
        )
    return Box(-BOUND, BOUND, world.action_shape[1:], np.float32)


def read_actions(actions: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A float32 copy of the actions; those outside the box stay outside, but no further than twice its bound.

    Raises:
        ValueError: they are not finite floating-point numbers of this shape.
    """
    actions = np.asarray(actions)
    expected = f"expected latent actions of shape {shape} and a floating-point dtype"
    if actions.shape != shape:
        raise ValueError(f"{expected}, got shape {actions.shape}; pass one vector per slot, as action_space.sample()")
    if actions.dtype.kind != "f":
        raise ValueError(f"{expected}, got dtype {actions.dtype}; convert with .astype(np.float32)")
    if not np.isfinite(actions).all():
        wrong = np.argwhere(~np.isfinite(actions))[0].tolist()
        raise ValueError(f"{expected}, all finite, got {actions[tuple(wrong)]} at {wrong}; check what computed it")
    return actions.clip(-2 * BOUND, 2 * BOUND).astype(np.float32)


def sample_actions(
    dream: Dream, generators: Sequence[np.random.Generator], source: Source | None = None, frame: Observed | None = None
) -> np.ndarray:
    """Draws one latent action for every generator: (len(generators), K, A) float32 inside the box, or codes int64.

    Args:
        dream: of the world whose actions they are.
        generators: each draws its own action, so that every environment of a batch keeps its own random stream.
        source: "prior" draws each slot on its own: as the world's learned prior has it in the current frame, or where
            the world learned none from the prior of no knowledge, standard normal or every code alike; "bank" draws
            the actions of all slots in one real transition of the training videos. By default the learned prior, or
            the bank of a world without one.
        frame: what the dreams show now, T = 1, a row for each generator; needed where a prior was learned.

    Raises:
        ValueError: another source, or the bank of the world is empty.
    """
    source = own_source(dream.world) if source is None else source
    if source == "bank":
        bank = dream.world.starts.bank
        if not len(bank):
            raise ValueError("expected a world with a bank of real actions, got an empty one; draw from source='prior'")
        drawn = bank[[int(generator.integers(len(bank))) for generator in generators]]
    elif source == "prior":
        drawn = _draw_from_prior(dream, generators, frame)
    else:
        raise ValueError(f"expected source to be one of {get_args(Source)}, got {source!r}")
    return clip_to_box(drawn).cpu().numpy().reshape(len(generators), *(latent_action_space(dream.world).shape or ()))


def own_source(world: World) -> Source:
    """Where a world itself draws latent actions from."""
    return "prior" if world.model.learns_prior else "bank"


@torch.inference_mode()
def _draw_from_prior(dream: Dream, generators: Sequence[np.random.Generator], frame: Observed | None) -> Tensor:
    actions = dream.model.actions
    prior: ActionPrior = actions.prior()
    if dream.model.learns_prior:
        assert frame is not None, "a learned prior depends on the frame"
        prior = dream.model.prior(frame)
    noise = [generator.standard_normal((1, actions.slots, prior.noise), np.float32) for generator in generators]
    return dream.draw(prior, torch.from_numpy(np.stack(noise)))
