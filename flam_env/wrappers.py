"""Who moves what: one slot for the agent, the actions of the real game, or a few choices for each slot."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.spaces import Discrete, MultiDiscrete
from gymnasium.utils import RecordConstructorArgs

from flam_env.acting import latent_action_space, read_actions, slot_action_space
from flam_env.env import FlamEnv
from flam_env.episodes import Others, check_others
from flam_env.units import BOUND
from flam_env.validation import check_integer
from flam_env.world import World


class SteerSlot(gym.Wrapper, RecordConstructorArgs):
    """Gives the agent one slot; something else moves the others.

    The action is a float vector (A,) in [-3, 3]. `info["others"]` names what moved the other slots in the step that
    led here: "replay", "data" or "zero".

    Args:
        env: a FLAM environment with latent actions.
        slot: the slot to steer, in [0, K).
        others: "replay": they take the start clip's own inferred actions, and rest at zero once these are used up
            (the clips of a world are about as long as its horizon) or where the start was given as frames;
            "data": they take actions drawn from the bank of real ones; "zero": they rest.

    Raises:
        ValueError: no such slot or way, or another kind of environment.
    """

    def __init__(self, env: gym.Env, slot: int, others: Others = "replay"):
        RecordConstructorArgs.__init__(self, slot=slot, others=others)
        gym.Wrapper.__init__(self, env)
        world = _world_of(env)
        self.slot = check_integer(slot, "slot", 0, world.model.actions.slots - 1)
        self.others = check_others(others)
        self.action_space = slot_action_space(world)

    def step(self, action: np.ndarray) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Takes the latent action float (A,) of the steered slot."""
        taken = read_actions(action, self.action_space)
        return _step_steered(self, [self.slot], taken[None], self.others)


class RealActions(gym.Wrapper, RecordConstructorArgs):
    """Gives the dream the actions of the real game; the world's action decoder says what each does (paper 4.3).

    The action is Discrete(C). The world's `controlled_slot` takes the latent action that stands for it in the current
    state, and the other slots move as in `SteerSlot`, which `info["others"]` says. `info["known_action"]` is False
    where no label told what the action does: the controlled slot then rests at zero.

    Args:
        env: a FLAM environment with latent actions.
        others: as for `SteerSlot`.
        slots: what takes the action in place of the controlled slot, where the player lies across several.

    Raises:
        ValueError: the world has no action decoder, no such way or slots, or another kind of environment.
    """

    def __init__(self, env: gym.Env, others: Others = "replay", slots: Sequence[int] | None = None):
        RecordConstructorArgs.__init__(self, others=others, slots=slots)
        gym.Wrapper.__init__(self, env)
        world = _world_of(env)
        if world.encoder is None or world.decoder is None:
            raise ValueError(
                "expected a world with an action decoder, got one without; learn it from a few labels with "
                "`flam-train decoder`, or steer latent actions with SteerSlot"
            )
        self.encoder, self.others = world.encoder, check_others(others)
        steered = [world.controlled_slot] if slots is None else slots
        self.slots = [check_integer(slot, "slot", 0, world.model.actions.slots - 1) for slot in steered]
        self.action_space = Discrete(world.encoder.config.actions)

    def step(self, action: int) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Takes a real action, int in [0, C).

        Raises:
            ValueError: there is no such action.
        """
        given = action.item() if isinstance(action, np.ndarray) and action.ndim == 0 else action
        chosen = check_integer(given, "a real action", 0, int(self.action_space.n) - 1)  # type: ignore[attr-defined]
        latent_actions = self._encode(chosen)
        *outcome, info = _step_steered(self, self.slots, latent_actions, self.others)
        return *outcome, info | {"known_action": bool(self.encoder.known[chosen])}  # type: ignore[return-value]

    @torch.inference_mode()
    def _encode(self, action: int) -> np.ndarray:
        """The latent actions float32 (len(slots), A) of the steered slots that stand for a real action."""
        slots = torch.from_numpy(self.unwrapped.slot_values()[self.slots])  # type: ignore[attr-defined]
        return self.encoder.encode(slots, torch.full((len(slots),), action)).numpy()


class DiscreteLatentActions(gym.ActionWrapper, RecordConstructorArgs):
    """Offers a few typical latent actions of each slot: the centres of its real actions.

    The action is MultiDiscrete, one choice for each slot, or Discrete around `SteerSlot`. Choices are ordered by
    their size, so 0 is closest to rest.

    Attributes:
        codebook: float32 (K, choices, A), what each choice stands for; one row for SteerSlot's slot.

    Args:
        env: a FLAM environment with latent actions, or `SteerSlot` around one.
        choices: how many for each slot.
        seed: of the clustering; the same seed gives the same choices.

    Raises:
        ValueError: fewer actions in the bank than choices, or another kind of environment.
    """

    def __init__(self, env: gym.Env, choices: int = 8, seed: int = 0):
        RecordConstructorArgs.__init__(self, choices=choices, seed=seed)
        gym.ActionWrapper.__init__(self, env)
        self.steered = isinstance(env.unwrapped, FlamEnv) and env.has_wrapper_attr("slot")
        world = _world_of(env, self.steered)
        slots = [env.get_wrapper_attr("slot")] if self.steered else range(world.model.actions.slots)
        bank = world.starts.bank.numpy()
        choices = check_integer(choices, "choices among the actions of the bank", 1, len(bank))
        seed = check_integer(seed, "seed", 0)
        self.codebook = np.stack([_centres(bank[:, slot], choices, seed) for slot in slots])
        self.action_space = Discrete(choices) if self.steered else MultiDiscrete([choices] * len(slots))

    def action(self, action: int | np.ndarray) -> np.ndarray:
        """Choices int (K,), or one int around SteerSlot -> the latent actions that they stand for.

        Raises:
            ValueError: no such choice.
        """
        choice = np.asarray(action)
        shape = () if self.steered else (len(self.codebook),)
        top = self.codebook.shape[1]
        if choice.shape != shape or choice.dtype.kind not in "iu" or (choice < 0).any() or (choice >= top).any():
            raise ValueError(f"expected integers in [0, {top}) of shape {shape}, got {action!r}")
        chosen = self.codebook[np.arange(len(self.codebook)), choice]
        return chosen[0] if self.steered else chosen


def _step_steered(
    wrapper: gym.Wrapper, slots: list[int], latent_actions: np.ndarray, others: Others
) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
    """Steps the environment inside a wrapper: these slots take latent actions (len(slots), A), others move the rest."""
    actions, source = wrapper.unwrapped.other_actions(others)  # type: ignore[attr-defined]
    actions[slots] = latent_actions
    observation, reward, terminated, truncated, info = wrapper.env.step(actions)
    return observation, reward, terminated, truncated, info | {"others": source}


def _world_of(env: gym.Env, steered: bool = False) -> World:
    """The world of a FLAM environment whose actions are still its own (K, A), or (A,) where a slot is steered."""
    if isinstance(env.unwrapped, FlamEnv):
        world = env.unwrapped.world
        if env.action_space == (slot_action_space(world) if steered else latent_action_space(world)):
            return world
    wanted = "(A,) of SteerSlot" if steered else "(K, A)"
    raise ValueError(
        f"expected a FLAM environment with latent actions {wanted} in [-3, 3], got {env} with {env.action_space}; "
        "put other wrappers of actions around this one"
    )


def _centres(points: np.ndarray, count: int, seed: int, rounds: int = 25) -> np.ndarray:
    """k-means: points (M, A) -> float32 (count, A) inside the box, ordered by their norm."""
    centres = points[np.random.default_rng(seed).choice(len(points), count, replace=False)].astype(np.float64)
    for _ in range(rounds):
        nearest = ((points[:, None] - centres) ** 2).sum(-1).argmin(1)
        for i in np.unique(nearest):
            centres[i] = points[nearest == i].mean(0)
    order = np.linalg.norm(centres, axis=1).argsort(kind="stable")
    return centres[order].clip(-BOUND, BOUND).astype(np.float32)
