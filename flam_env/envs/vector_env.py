"""A learned world as a Gymnasium vector environment: one batch on one device."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from flam_env.dream.dream import Dream
from flam_env.envs.actions import Source
from flam_env.envs.controls import Others, Scene, other_actions, read
from flam_env.envs.env import check_render_mode
from flam_env.envs.episodes import Episodes, find_live_world
from flam_env.envs.judge import FunctionJudge, RewardFunction, TerminationFunction
from flam_env.envs.starts import read_options
from flam_env.validation import check_integer
from flam_env.worlds.world import World


class FlamVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """`num_envs` dreams in one learned world, stepped together; see `FlamEnv` for actions, rewards and infos.

    Environment i of a batch that is seeded with s draws what a single environment seeded with s + i draws. After an
    episode has ended, the next one begins as the autoreset mode of Gymnasium says: in the next step, whose action is
    ignored ("NextStep"); in the same step, with the last frame and info in `info["final_obs"]` and
    `info["final_info"]` ("SameStep"); or by `reset(options={"reset_mask": ...})` ("Disabled").

    Args:
        num_envs: B, number of environments.
        checkpoint: as for FlamEnv, like all arguments that are not named here.
        world: a live world instead of a checkpoint.
        device: where the networks run, all environments on this one.
        horizon: steps after which an episode is truncated.
        draw_tokens: as for FlamEnv.
        max_episode_steps: a further limit, which `gymnasium.make_vec` passes on; the smaller one holds.
        render_mode: None or "rgb_array".
        reward_fn: called for each environment on its own.
        termination_fn: called for each environment on its own.
        autoreset_mode: an `AutoresetMode` or its value.

    Raises:
        FileNotFoundError: there is no such world.
        ValueError: the world is damaged, or an argument is none of the above.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15, "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 1,
        checkpoint: str | Path | None = None,
        *,
        world: World | None = None,
        device: str = "auto",
        horizon: int | None = None,
        draw_tokens: bool | None = None,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        reward_fn: str | RewardFunction | None = None,
        termination_fn: str | TerminationFunction | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ):
        check_render_mode(render_mode)
        num_envs = check_integer(num_envs, "num_envs", 1)
        self.world = find_live_world(checkpoint, world)
        if max_episode_steps is not None:
            horizon = check_integer(self.world.settings.horizon if horizon is None else horizon, "horizon", 1)
            horizon = min(horizon, check_integer(max_episode_steps, "max_episode_steps", 1))
        self.autoreset_mode = _find_autoreset_mode(autoreset_mode)
        frames_per_second = self.world.settings.frames_per_second
        self.metadata = {**self.metadata, "render_fps": frames_per_second, "autoreset_mode": self.autoreset_mode}
        self.num_envs, self.render_mode = num_envs, render_mode
        self._episodes = Episodes(
            num_envs, self.world, FunctionJudge(reward_fn, termination_fn), device, horizon, draw_tokens
        )
        self.single_action_space = self._episodes.action_space
        self.single_observation_space = self._episodes.observation_space
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._generators = [seeding.np_random()[0] for _ in range(num_envs)]
        self._done = np.zeros(num_envs, bool)

    @property
    def horizon(self) -> int:
        """Steps after which an episode is truncated."""
        return self._episodes.horizon

    @property
    def dream(self) -> Dream:
        """The world on its device."""
        return self._episodes.dream

    @property
    def scene(self) -> Scene:
        """What a control sees of the episodes; those that the coming step only begins anew are not active."""
        return self._episodes.scene(self._generators, ~self._done)

    def reset(
        self, *, seed: int | Sequence[int | None] | np.ndarray | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts episodes.

        Args:
            seed: s for the seeds s, s + 1, ...; or one seed or None for each environment.
            options: `start` as for FlamEnv, for all environments, or a list of `num_envs` of them;
                `reset_mask` bool (B,) for the environments to reset, default all.

        Returns:
            Frames uint8 (B, H, W, 3), and infos with a mask of the same name with an underscore for each.

        Raises:
            ValueError: an unknown option, or a seed or option that is none of the above.
        """
        seeds = self._seeds(seed)
        read = read_options(options, ("start", "reset_mask"))
        starts = self._one_for_each(read.get("start"), "options['start']")
        rows = self._rows(read.get("reset_mask"))
        super().reset(seed=seeds[0])
        for row in rows:
            if seeds[row] is not None:
                self._generators[row] = seeding.np_random(seeds[row])[0]
        self._begin(rows, starts)
        self._done[rows] = False
        return self._episodes.frames.copy(), self._infos()

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Takes one latent action float (B, K, A) in every environment.

        Returns:
            Frames uint8 (B, H, W, 3), rewards float64 (B,), terminated and truncated bool (B,), infos.

        Raises:
            ValueError: the actions have another shape, no floating-point dtype, or are not finite; or an episode
                has ended and automatic resets are disabled.
        """
        if self.autoreset_mode == AutoresetMode.DISABLED and self._done.any():
            rows = np.flatnonzero(self._done).tolist()
            raise ValueError(
                f"expected running episodes, got ended ones in environments {rows}; "
                "call reset(options={'reset_mask': terminated | truncated}) first"
            )
        actions = read(actions, self.single_action_space, (self.num_envs,))
        outcome = self._episodes.advance(actions, self._generators, ~self._done)
        ended = outcome.terminated | outcome.truncated
        beginning, final = self._done, {}
        if self.autoreset_mode == AutoresetMode.SAME_STEP:
            beginning, final = ended, self._final_infos(ended)
        self._begin(np.flatnonzero(beginning))
        self._done = ended & ~beginning
        return self._episodes.frames.copy(), *outcome, self._infos() | final

    def render(self) -> tuple[np.ndarray, ...]:
        """The current frames, each uint8 (H, W, 3).

        Raises:
            ValueError: the environment was made without a render mode.
            gymnasium.error.ResetNeeded: an environment was not reset yet.
        """
        if self.render_mode is None:
            raise ValueError("expected render_mode='rgb_array', got None; pass it when the environment is made")
        self._episodes.expect_begun()
        return tuple(self._episodes.frames.copy())

    def slot_masks(self) -> np.ndarray:
        """How much of every pixel of the current frames belongs to each slot, float32 (B, K, H, W).

        It sums to 1 over slots, or to less where the world has a background sink that took the rest.
        """
        return self._episodes.slot_masks()

    def sample_latent_action(self, source: Source | None = None) -> np.ndarray:
        """Draws latent actions float32 (B, K, A), each from its own environment's random stream; see FlamEnv."""
        return self._episodes.sample_actions(self._generators, source)

    def other_actions(self, others: Others | None = None) -> tuple[np.ndarray, list[str]]:
        """What moves the slots that nobody steers, float32 (B, K, A), and what it is in each row; see FlamEnv.

        Where the coming step only begins the next episode, it is rest, and nothing is drawn.
        """
        actions, sources = other_actions(others, self.scene)
        return actions, sources.tolist()

    def _begin(self, rows: np.ndarray, starts: list[Any] | None = None) -> None:
        generators = [self._generators[row] for row in rows]
        wanted = [None] * len(rows) if starts is None else [starts[row] for row in rows]
        self._episodes.begin(rows.tolist(), generators, wanted)

    def _seeds(self, given: Any) -> list[int | None]:
        """The seed of each environment: s, s + 1, ... for one seed s."""
        given = given.tolist() if isinstance(given, np.ndarray) else given
        if given is not None and not isinstance(given, list | tuple | range):
            first = check_integer(given, "seed", 0)
            given = range(first, first + self.num_envs)
        seeds = self._one_for_each(given, "seed")
        return [None if seed is None else check_integer(seed, "seed", 0) for seed in seeds]

    def _one_for_each(self, given: Any, name: str) -> list[Any]:
        if not isinstance(given, list | tuple | range):
            return [given] * self.num_envs
        if len(given) != self.num_envs:
            raise ValueError(f"expected {name} to have num_envs={self.num_envs} entries, got {len(given)}")
        return list(given)

    def _rows(self, mask: np.ndarray | None) -> np.ndarray:
        if mask is None:
            return np.arange(self.num_envs)
        mask = np.asarray(mask)
        if mask.shape != (self.num_envs,) or mask.dtype != bool or not mask.any():
            raise ValueError(
                f"expected options['reset_mask'] of dtype bool and shape ({self.num_envs},) with at least one True, "
                f"got dtype {mask.dtype}, shape {mask.shape}, {int(mask.astype(bool).sum())} True"
            )
        return np.flatnonzero(mask)

    def _infos(self) -> dict[str, Any]:
        everywhere, episodes = np.ones(self.num_envs, bool), self._episodes
        values = {"start": episodes.start_index.copy(), "clipped": episodes.clipped.copy(), "refused": episodes.refused}
        if (left := episodes.off_road) is not None:
            values["off_road"] = left
        return values | {f"_{name}": everywhere.copy() for name in values}

    def _final_infos(self, ended: np.ndarray) -> dict[str, Any]:
        if not ended.any():
            return {}
        frames = np.full(self.num_envs, None, dtype=object)
        for row in np.flatnonzero(ended):
            frames[row] = self._episodes.frames[row].copy()
        infos = self._infos()
        infos = {name: ended.copy() if name.startswith("_") else value for name, value in infos.items()}
        return {"final_obs": frames, "_final_obs": ended.copy(), "final_info": infos, "_final_info": ended.copy()}


def _find_autoreset_mode(given: AutoresetMode | str) -> AutoresetMode:
    try:
        return AutoresetMode(given)
    except ValueError as error:
        known = [mode.value for mode in AutoresetMode]
        raise ValueError(f"expected autoreset_mode to be an AutoresetMode or one of {known}, got {given!r}") from error
