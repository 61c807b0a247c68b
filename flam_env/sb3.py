"""A learned world as a vector environment of Stable-Baselines3."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from flam_env.acting import read_actions, slot_action_space
from flam_env.episodes import Others, check_others
from flam_env.starting import read_options
from flam_env.validation import check_integer
from flam_env.vector_env import FlamVectorEnv

try:
    from stable_baselines3.common.vec_env.base_vec_env import VecEnv
except ModuleNotFoundError as error:
    if error.name != "stable_baselines3":
        raise
    raise ModuleNotFoundError(
        "flam_env.sb3 needs Stable-Baselines3: pip install 'flam-env[rl]'", name=error.name
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
        others: what moves the other slots, as for SteerSlot.
        **arguments: world, device, horizon, render_mode, reward_fn, termination_fn.

    Raises:
        ValueError: no such slot or way, or what FlamEnv refuses.
    """

    def __init__(
        self,
        checkpoint: str | Path | None = None,
        num_envs: int = 1,
        *,
        slot: int | None = None,
        others: Others = "replay",
        **arguments: Any,
    ):
        self.envs = FlamVectorEnv(num_envs, checkpoint, autoreset_mode=AutoresetMode.SAME_STEP, **arguments)
        self.slot, self.others = slot, check_others(others)
        self.render_mode = self.envs.render_mode
        space = self.envs.single_action_space
        if slot is not None:
            self.slot = check_integer(slot, "slot", 0, self.envs.world.model.actions.slots - 1)
            space = slot_action_space(self.envs.world)
        super().__init__(self.envs.num_envs, self.envs.single_observation_space, space)

    def reset(self) -> np.ndarray:
        """Starts episodes everywhere, with the seeds and options that were set -> frames uint8 (B, H, W, 3).

        Raises:
            ValueError: options that FlamEnv refuses; they are forgotten, so that the next reset can do without.
        """
        options = self._options
        self._reset_options()
        starts = [read_options(each).get("start") for each in options]
        frames, infos = self.envs.reset(seed=self._seeds, options={"start": starts})
        self.reset_infos = [self._info(infos, row) for row in range(self.num_envs)]
        self._reset_seeds()
        return frames

    def step_async(self, actions: np.ndarray) -> None:
        """Remembers the actions, float (B, K, A), or (B, A) for one slot."""
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Steps -> frames uint8 (B, H, W, 3), rewards float32 (B,), dones bool (B,), one info for each."""
        frames, rewards, terminated, truncated, infos = self.envs.step(self._latent_actions())
        dones = terminated | truncated
        listed = [self._info(infos["final_info"] if dones[i] else infos, i) for i in range(self.num_envs)]
        for row, info in enumerate(listed):
            info["TimeLimit.truncated"] = bool(truncated[row] and not terminated[row])
            if dones[row]:
                info["terminal_observation"] = infos["final_obs"][row]
                self.reset_infos[row] = self._info(infos, row)
        return frames, rewards.astype(np.float32), dones, listed

    def _latent_actions(self) -> np.ndarray:
        if self.slot is None:
            return self._actions
        given = read_actions(self._actions, batch_space(self.action_space, self.num_envs))
        actions, _ = self.envs.other_actions(self.others)
        actions[:, self.slot] = given
        return actions

    def _info(self, infos: dict[str, Any], row: int) -> dict[str, Any]:
        return {name: infos[name][row].item() for name in ("start", "clipped", "refused")}

    def close(self) -> None:
        """Closes the environments."""
        self.envs.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        """The current frames of all environments."""
        return self.envs.render()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute, once for each environment: of this object, else of the FlamVectorEnv below."""
        holder = self if attr_name in self.__dict__ else self.envs
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
