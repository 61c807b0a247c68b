"""A learned world as a vector environment of Stable-Baselines3."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper

from flam_env.envs.controls import Others
from flam_env.envs.starts import read_options
from flam_env.envs.vector_env import FlamVectorEnv
from flam_env.envs.vector_wrappers import DiscreteLatentActions, RealActions, SteerSlot

try:
    from stable_baselines3.common.vec_env.base_vec_env import VecEnv
except ModuleNotFoundError as error:
    if error.name != "stable_baselines3":
        raise
    raise ModuleNotFoundError(
        "flam_env.envs.sb3_vec_env needs Stable-Baselines3: pip install 'flam-env[rl]'", name=error.name
    ) from error

BATCHED_METHODS = ("other_actions", "render", "sample_latent_action", "slot_masks")
"""Methods of FlamVectorEnv that return something for each environment."""


class FlamSB3VecEnv(VecEnv):
    """`FlamVectorEnv` for Stable-Baselines3: one batch on one device, new episodes begin in the step that ends one.

    The last frame of an episode is `info["terminal_observation"]`, and `info["TimeLimit.truncated"]` says whether the
    horizon ended it, so that algorithms bootstrap there. Wrap it in `VecMonitor` for episode statistics.

    Args:
        checkpoint: as for FlamEnv, like all further arguments.
        num_envs: how many environments.
        slot: the only slot that the agent steers, with actions (A,); default: all of them, with actions (K, A).
        real_actions: whether the agent takes the actions of the real game, Discrete(C), as for `RealActions`.
        slots: which take real actions; by default those that hold the player, as the world finds it.
        others: what moves the slots that the agent does not, as for `SteerSlot`.
        choices: how many typical latent actions of each slot the agent chooses from, as for `DiscreteLatentActions`;
            default: none, its actions are vectors.
        **arguments: world, device, horizon, draw_tokens, render_mode, reward_fn, termination_fn.

    Raises:
        ValueError: no such slot or way, arguments that exclude each other, or what FlamEnv refuses.
    """

    def __init__(
        self,
        checkpoint: str | Path | None = None,
        num_envs: int = 1,
        *,
        slot: int | None = None,
        real_actions: bool = False,
        slots: Sequence[int] | None = None,
        others: Others | None = None,
        choices: int | None = None,
        **arguments: Any,
    ):
        _check_together(slot=slot, real_actions=real_actions or None, slots=slots, others=others, choices=choices)
        self.envs = FlamVectorEnv(num_envs, checkpoint, autoreset_mode=AutoresetMode.SAME_STEP, **arguments)
        self.controlled: VectorEnv = self.envs
        if slot is not None:
            self.controlled = SteerSlot(self.controlled, slot, others)
        if real_actions:
            self.controlled = RealActions(self.controlled, others, slots)
        if choices is not None:
            self.controlled = DiscreteLatentActions(self.controlled, choices)
        self.render_mode = self.envs.render_mode
        super().__init__(self.envs.num_envs, self.envs.single_observation_space, self.controlled.single_action_space)
        self.metadata = dict(self.envs.metadata)

    def reset(self) -> np.ndarray:
        """Starts episodes everywhere, with the seeds and options that were set -> frames uint8 (B, H, W, 3).

        Raises:
            ValueError: options that FlamEnv refuses; they are forgotten, so that the next reset can do without.
        """
        options = self._options
        self._reset_options()
        starts = [read_options(each).get("start") for each in options]
        frames, infos = self.envs.reset(seed=self._seeds, options={"start": starts})
        self.reset_infos = self._list(infos)
        self._reset_seeds()
        return frames

    def step_async(self, actions: np.ndarray) -> None:
        """Remembers the actions, (B, *action_space.shape)."""
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Steps -> frames uint8 (B, H, W, 3), rewards float32 (B,), dones bool (B,), one info for each."""
        frames, rewards, terminated, truncated, infos = self.controlled.step(self._actions)
        dones, listed = terminated | truncated, self._list(infos)
        if dones.any():
            finals = self._list(infos["final_info"])
            for row in np.flatnonzero(dones):
                self.reset_infos[row] = listed[row]
                listed[row] = finals[row] | {"terminal_observation": infos["final_obs"][row]}
        for info, over in zip(listed, (truncated & ~terminated).tolist(), strict=True):
            info["TimeLimit.truncated"] = over
        return frames, rewards.astype(np.float32), dones, listed

    def _list(self, infos: dict[str, Any]) -> list[dict[str, Any]]:
        """Infos of the batch -> what they say of each environment, in plain Python values."""
        listed: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for name in sorted(infos):
            if f"_{name}" in infos and not name.startswith("final_"):
                for info, value, said in zip(listed, infos[name].tolist(), infos[f"_{name}"].tolist(), strict=True):
                    info |= {name: value} if said else {}
        return listed

    def close(self) -> None:
        """Closes the environments."""
        self.envs.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        """The current frames of all environments."""
        return self.envs.render()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute, once for each environment: of this object, else of a control, else of the FlamVectorEnv."""
        holder: Any = self if attr_name in self.__dict__ else self.controlled
        while isinstance(holder, VectorWrapper) and not hasattr(holder, attr_name):
            holder = holder.env
        return [getattr(holder, attr_name)] * len(self._get_indices(indices))  # type: ignore[arg-type]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Not supported: the environments are one batch and share their attributes."""
        raise NotImplementedError(f"expected no change of {attr_name!r}: all environments share it; make new ones")

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Calls a batched method of FlamVectorEnv and hands out its rows.

        Raises:
            ValueError: the method is none of those that return a row for each environment.
        """
        if method_name not in BATCHED_METHODS:
            raise ValueError(f"expected a batched method of {list(BATCHED_METHODS)}, got {method_name!r}")
        rows = getattr(self.envs, method_name)(*method_args, **method_kwargs)
        if method_name == "other_actions":  # the actions of all rows and what they are -> both for each row
            rows = list(zip(*rows, strict=True))
        return [rows[i] for i in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: Any = None) -> list[bool]:
        """Never: there are no single environments to wrap."""
        return [False] * len(self._get_indices(indices))  # type: ignore[arg-type]


def _check_together(**given: Any) -> None:
    """Raises ValueError where arguments about who moves what exclude each other or need another one."""
    named = {name for name, value in given.items() if value is not None}
    for one, other in (("real_actions", "slot"), ("real_actions", "choices")):
        if {one, other} <= named:
            raise ValueError(f"expected either {one} or {other}, got both; leave one out")
    for name, needed in (("others", {"slot", "real_actions"}), ("slots", {"real_actions"})):
        if name in named and not named & needed:
            raise ValueError(f"expected {name} together with {' or '.join(sorted(needed))}, got {given[name]!r} alone")
