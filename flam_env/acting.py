"""Latent actions as users give and draw them: one vector in [-3, 3]^A for each slot, in action units."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from gymnasium.spaces import Box

from flam_env.units import BOUND
from flam_env.world import World

Source = Literal["bank", "prior"]


def slot_count(world: World) -> int:
    """K, the number of slots that take latent actions."""
    return world.model.config.slots


def latent_action_space(world: World) -> Box:
    """The box of latent actions, float32 (K, A) in [-3, 3]."""
    return Box(-BOUND, BOUND, (slot_count(world), world.units.dim), np.float32)


def slot_action_space(world: World) -> Box:
    """The box of one slot's latent action, float32 (A,) in [-3, 3]."""
    return Box(-BOUND, BOUND, (world.units.dim,), np.float32)


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


def sample_actions(world: World, generators: Sequence[np.random.Generator], source: Source = "bank") -> np.ndarray:
    """Draws one latent action for every generator: float32 (len(generators), K, A), inside the box.

    Args:
        world: whose actions.
        generators: each draws its own action, so that every environment of a batch keeps its own random stream.
        source: "bank" draws the actions of all slots in one real transition of the training videos; "prior" draws
            from the standard normal prior of the latent actions, each slot on its own.

    Raises:
        ValueError: another source, or the bank of the world is empty.
    """
    if source == "bank":
        bank = world.starts.bank.numpy()
        if not len(bank):
            raise ValueError("expected a world with a bank of real actions, got an empty one; draw from source='prior'")
        drawn = np.stack([bank[generator.integers(len(bank))] for generator in generators])
    elif source == "prior":
        shape = latent_action_space(world).shape
        scale = np.asarray(world.units.scale)
        drawn = np.stack([generator.standard_normal(shape) / scale for generator in generators])
    else:
        raise ValueError(f"expected source to be one of {get_args(Source)}, got {source!r}")
    return drawn.clip(-BOUND, BOUND).astype(np.float32)
