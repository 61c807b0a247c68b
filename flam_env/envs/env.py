"""A learned world as a Gymnasium environment."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from flam_env.dream.dream import Dream
from flam_env.envs.actions import Source
from flam_env.envs.controls import Others, Scene, other_actions, read
from flam_env.envs.episodes import Episodes, find_live_world
from flam_env.envs.judge import FunctionJudge, RewardFunction, TerminationFunction
from flam_env.envs.starts import read_options
from flam_env.worlds.world import World


class FlamEnv(gym.Env[np.ndarray, np.ndarray]):
    """Dreams in a learned world: one latent action for each slot in, the next frame out.

    Actions are float (K, A) in [-3, 3], in units of their spread in the training videos; the box is `action_space`.
    Finite actions outside are clipped, and `info["clipped"]` says so. Observations are uint8 (H, W, 3).

    A learned world has no reward and no end of its own: the reward is 0.0 and `terminated` is False unless functions
    are given, and episodes are truncated at the horizon. All that is drawn comes from the seed of `reset`: the start
    of an episode and, in a world with a token sampler, what follows each step of what its model holds possible, so that
    things come in. In other worlds the likeliest follows.

    Every info holds `start`, the index of the bundled start of this episode or -1, `clipped`, and `refused`:
    whether a slot rested because its action would have made vanish what it holds, in a world where nothing does. Where
    the world can tell, `off_road` says how unlike real video the last steps look: the share of real video, 0 to 1, that
    looks more usual; a dream that stays above .99 has left the road, and what it shows is worth little.

    Args:
        checkpoint: name of a bundled world ("bigfish") or the directory of one's own.
        world: a live world instead of a checkpoint; not through `gym.make`, whose arguments should be JSON.
        device: where the networks run, e.g. "cpu" or "cuda:1"; "auto" is the GPU where there is one, else the CPU.
        horizon: steps after which an episode is truncated; default: for how long the world is known to hold.
        draw_tokens: False shows the likeliest in a world with a token sampler too, where nothing new comes in and a
            step always leads to the same frame; default: drawn where the world can.
        render_mode: None or "rgb_array".
        reward_fn: `f(frame_before, latent_action, frame_after) -> float`, or "module:function". Frames are uint8
            (H, W, 3) and the action is float32 (K, A), clipped as it was taken; none of them may be changed.
        termination_fn: `f(frame, step) -> bool`, or "module:function", asked after every step about the frame that
            the step led to; `step` counts from 1 in each episode.

    Raises:
        FileNotFoundError: there is no such world.
        ValueError: the world is damaged, or an argument is none of the above.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}  # noqa: RUF012

    def __init__(
        self,
        checkpoint: str | Path | None = None,
        *,
        world: World | None = None,
        device: str = "auto",
        horizon: int | None = None,
        draw_tokens: bool | None = None,
        render_mode: str | None = None,
        reward_fn: str | RewardFunction | None = None,
        termination_fn: str | TerminationFunction | None = None,
    ):
        check_render_mode(render_mode)
        self.world = find_live_world(checkpoint, world)
        self.metadata = {**self.metadata, "render_fps": self.world.settings.frames_per_second}
        self.render_mode = render_mode
        self._episodes = Episodes(1, self.world, FunctionJudge(reward_fn, termination_fn), device, horizon, draw_tokens)
        self.action_space = self._episodes.action_space
        self.observation_space = self._episodes.observation_space

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
        """What a control sees of the episode, as a batch of one."""
        return self._episodes.scene([self.np_random])

    @property
    def replay_actions(self) -> np.ndarray:
        """The start clip's own inferred actions that come next, float32 (R, K, A), unclipped; R = 0 for own frames."""
        clip, actions = int(self._episodes.start_index[0]), self.world.starts.actions.numpy()
        if clip < 0:
            return np.zeros((0, *actions.shape[2:]), np.float32)
        return actions[clip, self.world.settings.context - 1 :].copy()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Starts an episode.

        Args:
            seed: of all that is drawn from here on.
            options: `start`: an index of the bundled starts, or frames uint8 (C, H, W, 3), oldest first,
                1 <= C <= window. Default: a bundled start is drawn.

        Returns:
            The last context frame as the world sees it, uint8 (H, W, 3), and the info.

        Raises:
            ValueError: an unknown option, or a start that is none of the above.
        """
        super().reset(seed=seed)
        start = read_options(options).get("start")
        self._episodes.begin([0], [self.np_random], [start])
        return self._episodes.frames[0].copy(), self._info()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Takes one latent action float (K, A) for each slot.

        Raises:
            ValueError: the action has another shape, no floating-point dtype, or is not finite.
            gymnasium.error.ResetNeeded: there was no reset yet.
        """
        outcome = self._episodes.advance(read(action, self.action_space)[None], [self.np_random])
        flags = bool(outcome.terminated[0]), bool(outcome.truncated[0])
        return self._episodes.frames[0].copy(), float(outcome.rewards[0]), *flags, self._info()

    def render(self) -> np.ndarray:
        """The current frame, uint8 (H, W, 3).

        Raises:
            ValueError: the environment was made without a render mode.
            gymnasium.error.ResetNeeded: there was no reset yet.
        """
        if self.render_mode is None:
            raise ValueError("expected render_mode='rgb_array', got None; pass it when the environment is made")
        self._episodes.expect_begun()
        return self._episodes.frames[0].copy()

    def slot_masks(self) -> np.ndarray:
        """How much of every pixel of the current frame belongs to each slot, float32 (K, H, W).

        It sums to 1 over slots, or to less where the world has a background sink that took the rest.
        """
        return self._episodes.slot_masks()[0]

    def slot_values(self) -> np.ndarray:
        """The slots of the current frame, float32 (K, S)."""
        return self._episodes.slot_values()[0]

    def sample_latent_action(self, source: Source | None = None) -> np.ndarray:
        """Draws a latent action float32 (K, A) as real videos have it; `action_space.sample()` is wilder.

        Args:
            source: "prior" for the prior of the latent actions, in a world that learned one as likely as they are in
                the current state; "bank" for the actions of one real transition. By default the learned prior, or the
                bank of a world without one.

        Raises:
            ValueError: another source, or the bank of the world is empty.
            gymnasium.error.ResetNeeded: there was no reset yet, in a world with a learned prior.
        """
        return self._episodes.sample_actions([self.np_random], source)[0]

    def other_actions(self, others: Others | None = None) -> tuple[np.ndarray, str]:
        """What moves the slots that nobody steers: latent actions float32 (K, A), and what they are.

        Args:
            others: "prior" and "data" for actions drawn as by `sample_latent_action` from prior and bank, one of which
                is the default there and here; "replay" for `replay_actions` while they last, and then zero; "zero" for
                rest.

        Raises:
            ValueError: another way.
            gymnasium.error.ResetNeeded: there was no reset yet.
        """
        actions, sources = other_actions(others, self.scene)
        return actions[0], sources[0]

    def _info(self) -> dict[str, Any]:
        episodes = self._episodes
        flags = {"clipped": bool(episodes.clipped[0]), "refused": bool(episodes.refused[0])}
        signs = {} if (left := episodes.off_road) is None else {"off_road": float(left[0])}
        return {"start": int(episodes.start_index[0])} | flags | signs


def check_render_mode(render_mode: str | None) -> None:
    """Raises ValueError unless the mode is None or "rgb_array"."""
    if render_mode not in (None, "rgb_array"):
        raise ValueError(f"expected render_mode to be None or 'rgb_array', got {render_mode!r}")
