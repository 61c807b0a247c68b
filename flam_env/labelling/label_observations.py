"""Latent actions of a live environment, e.g. a real game that a person or another agent plays."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box
from gymnasium.utils import RecordConstructorArgs

from flam_env.labelling.labeller import Labeller
from flam_env.video.rates import alike
from flam_env.warn import warn_user


class LabelObservations(gym.Wrapper, RecordConstructorArgs):
    """Puts the latent action of every transition into the info of its step.

    `info["latent_action"]` is float32 (K, A), in the units of the world and not clipped to its box: what led from the
    observation before to this one. The infos of `reset` have none, and neither has the first step of an episode that
    an environment began by itself (`gymnasium.wrappers.Autoreset` inside this wrapper). Where the world has an action
    decoder, beside it lie `info["pseudo_action"]`, int, the real action that most likely was taken, and
    `info["pseudo_action_probabilities"]`, float32 (C,).

    Args:
        env: any environment whose observations are uint8 (H, W, 3), of any size.
        labeller: a labeller, which many environments may share, or the name or directory of a world.

    Warns:
        UserWarning: `render_fps` in the metadata of the environment is another rate than that of the world's videos.

    Raises:
        ValueError: other observations, or as for `Labeller.from_pretrained`.
        FileNotFoundError: there is no such world.
    """

    def __init__(self, env: gym.Env, labeller: Labeller | str | Path):
        RecordConstructorArgs.__init__(self, labeller=labeller, _disable_deepcopy=True)  # networks are to be shared
        gym.Wrapper.__init__(self, env)
        space = env.observation_space
        if not (isinstance(space, Box) and space.dtype == np.uint8 and len(space.shape) == 3 and space.shape[2] == 3):
            raise ValueError(
                f"expected an environment with observations uint8 (H, W, 3), got {space}; "
                "put wrappers that change observations around this one, or AddRenderObservation inside"
            )
        labeller = labeller if isinstance(labeller, Labeller) else Labeller.from_pretrained(labeller)
        _warn_of_pace(env, labeller.world.settings.frames_per_second)
        self._stream = labeller.stream()
        self._over = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Resets the environment; the labeller forgets the episode before."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._begin(observation)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Steps the environment and labels what happened."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if self._over:
            self._begin(observation)
        else:
            info = info | self._label(observation)
        self._over = bool(terminated or truncated)
        return observation, reward, terminated, truncated, info

    def _label(self, observation: np.ndarray) -> dict[str, Any]:
        self._stream.push(observation)
        labels = self._stream.newest
        assert labels is not None, "the episode has begun"
        found = {"latent_action": labels.latent_actions}
        if labels.actions is None:
            return found
        return found | {
            "pseudo_action": int(labels.actions),
            "pseudo_action_probabilities": labels.action_probabilities,
        }

    def _begin(self, observation: np.ndarray) -> None:
        self._stream.restart()
        self._stream.push(observation)
        self._over = False


def _warn_of_pace(env: gym.Env, world: float) -> None:
    """Warns of an environment that says it has another pace than the videos of a world."""
    rate = env.metadata.get("render_fps")
    if not rate or alike(rate, world):
        return
    less, advice = "more", "take a world of that pace, or fewer repetitions of each action"
    if rate > world:
        less, advice = "less", f"repeat each action for about {rate / world:.2g} steps inside this wrapper"
    warn_user(
        f"{env} has {rate:g} frames a second (render_fps) and the videos of this world had {world:g}, so in a step "
        f"{less} happens than the world knows, and its labels are worse; {advice}, or put the pace of its steps into "
        "metadata['render_fps'] if it is another"
    )
