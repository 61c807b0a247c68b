"""Who moves what in a vector environment: the wrappers of `flam_env`, by the same names, for `gymnasium.make_vec`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import VectorActionWrapper, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from flam_env.envs.choices import ChoiceControl
from flam_env.envs.controls import Control, Others, RealActionControl, SlotControl, find_world, read
from flam_env.envs.vector_env import FlamVectorEnv


class _Steering(VectorWrapper):
    """A control around a vector environment with latent actions."""

    def __init__(self, env: VectorEnv, control: Control):
        VectorWrapper.__init__(self, env)
        self._control = control
        self.single_action_space = control.action_space
        self.action_space = batch_space(control.action_space, self.num_envs)

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Takes an action of each agent.

        Raises:
            ValueError: there is no such action.
        """
        scene = self.unwrapped.scene  # type: ignore[attr-defined]
        move = self._control(read(actions, self.single_action_space, (self.num_envs,)), scene)
        *outcome, infos = self.env.step(move.actions)
        return *outcome, _tell(infos, move.infos, scene.active)  # type: ignore[return-value]


class SteerSlot(_Steering):
    """`flam_env.SteerSlot` for a vector environment: float actions (B, A) of one slot in each.

    `infos["others"]` are strings as objects (B,), and None where an episode has just begun.

    Args:
        env: a FLAM vector environment with latent actions.
        slot: the slot to steer, in [0, K).
        others: what moves the others: "prior", "data", "replay" or "zero".

    Raises:
        ValueError: no such slot or way, or another kind of environment.
    """

    def __init__(self, env: VectorEnv, slot: int, others: Others | None = None):
        control = SlotControl(find_world(env, FlamVectorEnv), slot, others)
        super().__init__(env, control)
        self.slot, self.others = control.slot, control.others


class RealActions(_Steering):
    """`flam_env.RealActions` for a vector environment: real actions int (B,).

    `infos["known_action"]` is bool (B,), `infos["others"]` is as for `SteerSlot`.

    Args:
        env: a FLAM vector environment with latent actions.
        others: as for `SteerSlot`.
        slots: which take the action; by default those that hold the player, as the world finds it in each state.

    Raises:
        ValueError: the world has no action decoder, no such way or slots, or another kind of environment.
    """

    def __init__(self, env: VectorEnv, others: Others | None = None, slots: Sequence[int] | None = None):
        control = RealActionControl(find_world(env, FlamVectorEnv), others, slots)
        super().__init__(env, control)
        self.slots, self.others = control.slots, control.others


class DiscreteLatentActions(VectorActionWrapper):
    """`flam_env.DiscreteLatentActions` for a vector environment: choices int (B, K), or (B,) around `SteerSlot`.

    Attributes:
        codebook: float32 (K, choices, A), what each choice stands for; one row for SteerSlot's slot.

    Args:
        env: a FLAM vector environment with latent actions, or `SteerSlot` around one.
        choices: how many for each slot.
        seed: of the clustering; the same seed gives the same choices.

    Raises:
        ValueError: fewer actions in the bank than choices, or another kind of environment.
    """

    def __init__(self, env: VectorEnv, choices: int = 8, seed: int = 0):
        slot = _steered_slot(env)
        control = ChoiceControl(find_world(env, FlamVectorEnv, steered=slot is not None), choices, seed, slot)
        super().__init__(env)
        self._control, self.codebook, self.single_action_space = control, control.codebook, control.action_space
        self.action_space = batch_space(control.action_space, self.num_envs)

    def actions(self, actions: Any) -> np.ndarray:
        """Choices int (B, K), or (B,) around SteerSlot -> the latent actions that they stand for.

        Raises:
            ValueError: no such choice.
        """
        return self._control.latent_actions(read(actions, self.single_action_space, (self.num_envs,)))


def _steered_slot(env: VectorEnv) -> int | None:
    while isinstance(env, VectorWrapper):
        if isinstance(env, SteerSlot):
            return env.slot
        env = env.env
    return None


def _tell(infos: dict[str, Any], told: dict[str, np.ndarray], active: np.ndarray) -> dict[str, Any]:
    """Infos of a step with what a control says, where Gymnasium looks for it: beside the frame that the step led to."""
    ended = infos.get("_final_info", np.zeros(len(active), bool))
    if "final_info" in infos:
        infos = infos | {"final_info": infos["final_info"] | _rows(told, ended)}
    return infos | _rows(told, active & ~ended)


def _rows(told: dict[str, np.ndarray], where: np.ndarray) -> dict[str, np.ndarray]:
    """What is said of some rows, with a mask for each name; nothing is said of the others."""
    rows = {name: values.copy() for name, values in told.items()}
    for values in rows.values():
        values[~where] = None if values.dtype == object else 0
    return rows | {f"_{name}": where.copy() for name in told}
