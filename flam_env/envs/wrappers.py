"""Who moves what in a single environment; `flam_env.envs.vector_wrappers` has the same names for batches."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs

from flam_env.envs.choices import ChoiceControl
from flam_env.envs.controls import Control, Others, RealActionControl, SlotControl, find_world, read
from flam_env.envs.env import FlamEnv


class _Steering(gym.Wrapper):
    """A control around an environment with latent actions."""

    def __init__(self, env: gym.Env, control: Control):
        gym.Wrapper.__init__(self, env)
        self._control = control
        self.action_space = control.action_space

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Takes an action of the agent.

        Raises:
            ValueError: there is no such action.
        """
        move = self._control(read(action, self.action_space)[None], self.unwrapped.scene)  # type: ignore[attr-defined]
        *outcome, info = self.env.step(move.actions[0])
        return *outcome, info | {name: told.tolist()[0] for name, told in move.infos.items()}  # type: ignore[return-value]


class SteerSlot(_Steering, RecordConstructorArgs):
    """Gives the agent one slot; something else moves the others.

    The action is a float vector (A,) in [-3, 3]. `info["others"]` names what moved the other slots in the step that
    led here: "prior", "data", "replay" or "zero".

    Args:
        env: a FLAM environment with latent actions.
        slot: the slot to steer, in [0, K).
        others: "prior": they take actions drawn from the prior of the world, each slot on its own; "data": they take
            actions drawn from the bank of real ones; "replay": they take the start clip's own inferred actions, and
            rest at zero once these are used up (the clips of a world are about as long as its horizon) or where the
            start was given as frames; "zero": they rest. Default: the prior that the world learned, else the bank.

    Raises:
        ValueError: no such slot or way, or another kind of environment.
    """

    def __init__(self, env: gym.Env, slot: int, others: Others | None = None):
        RecordConstructorArgs.__init__(self, slot=slot, others=others)
        control = SlotControl(find_world(env, FlamEnv), slot, others)
        _Steering.__init__(self, env, control)
        self.slot, self.others = control.slot, control.others


class RealActions(_Steering, RecordConstructorArgs):
    """Gives the dream the actions of the real game; the world's action decoder says what each does (paper 4.3).

    The action is Discrete(C). The slots that hold the player in the current state, or the `controlled_slot` of a world
    that cannot find it, take the latent action that stands for it, and the other slots move as in `SteerSlot`, which
    `info["others"]` says. `info["known_action"]` is False where no label told what the action does: the player then
    rests at zero.

    Args:
        env: a FLAM environment with latent actions.
        others: as for `SteerSlot`.
        slots: which take the action; by default those that hold the player, as the world finds it in each state.

    Raises:
        ValueError: the world has no action decoder, no such way or slots, or another kind of environment.
    """

    def __init__(self, env: gym.Env, others: Others | None = None, slots: Sequence[int] | None = None):
        RecordConstructorArgs.__init__(self, others=others, slots=slots)
        control = RealActionControl(find_world(env, FlamEnv), others, slots)
        _Steering.__init__(self, env, control)
        self.slots, self.others = control.slots, control.others


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
        slot = _steered_slot(env)
        control = ChoiceControl(find_world(env, FlamEnv, steered=slot is not None), choices, seed, slot)
        gym.ActionWrapper.__init__(self, env)
        self._control, self.codebook, self.action_space = control, control.codebook, control.action_space

    def action(self, action: int | np.ndarray) -> np.ndarray:
        """Choices int (K,), or one int around SteerSlot -> the latent actions that they stand for.

        Raises:
            ValueError: no such choice.
        """
        return self._control.latent_actions(read(action, self.action_space))


def _steered_slot(env: gym.Env) -> int | None:
    while isinstance(env, gym.Wrapper):
        if isinstance(env, SteerSlot):
            return env.slot
        env = env.env
    return None
