"""How well a policy plays levels that it has never seen."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

try:
    from stable_baselines3.common.vec_env import VecEnv
except ModuleNotFoundError as error:
    if error.name != "stable_baselines3":
        raise
    raise ModuleNotFoundError(
        "evaluating a policy needs Stable-Baselines3: pip install 'flam-env[rl]'", name=error.name
    ) from error


@dataclass(frozen=True, kw_only=True)
class LevelScores:
    """What `evaluate_on_levels` returns; B environments, E episodes in each.

    Attributes:
        returns: sum of rewards of each episode, float64 (B, E).
        lengths: steps of each episode, int64 (B, E).
        videos: frames uint8 (T, H, W, 3) of the first episodes that were asked for, one per environment.
    """

    returns: np.ndarray
    lengths: np.ndarray
    videos: list[np.ndarray] = field(default_factory=list)

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(self.returns.mean())

    @property
    def standard_error(self) -> float:
        """Of the mean return; NaN for a single episode, which cannot tell."""
        number = self.returns.size
        return float(self.returns.std(ddof=1) / math.sqrt(number)) if number > 1 else math.nan

    def summary(self) -> dict[str, float]:
        """The numbers that a report gives, by name."""
        return {
            "mean_return": self.mean,
            "standard_error": self.standard_error,
            "episodes": self.returns.size,
            "mean_length": float(self.lengths.mean()),
        }


def evaluate_on_levels(
    model: Any,
    env: VecEnv,
    *,
    episodes_per_env: int = 4,
    deterministic: bool = False,
    seed: int = 0,
    videos: int = 0,
) -> LevelScores:
    """Plays a fixed number of episodes in every environment of a batch.

    Taking the first episodes to finish, wherever they do, would over-weight short ones. Differs from SB3's
    `evaluate_policy` in that it is seeded, samples actions, and returns episodes by environment.

    Args:
        model: an SB3 algorithm or policy without memory.
        env: e.g. `ProcgenVecEnv("bigfish", 16, split="test")`, perhaps wrapped; it is seeded and reset. Where a
            `VecMonitor` is among the wrappers, its returns count.
        episodes_per_env: episodes played in each environment.
        deterministic: take the most likely action instead of sampling one.
        seed: decides levels and sampled actions; torch's own generators are left as they were.
        videos: the first episode of so many environments is kept for a video.

    Raises:
        ValueError: a number is out of range, or the policy is made for other observations.
    """
    if episodes_per_env < 1 or not 0 <= videos <= env.num_envs or seed < 0:
        raise ValueError(
            f"expected episodes_per_env >= 1, 0 <= videos <= {env.num_envs} environments and seed >= 0, got "
            f"{episodes_per_env}, {videos} and {seed}; change what is out of range"
        )
    tally = _Tally(env.num_envs, episodes_per_env, videos)
    env.seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        observations = env.reset()
        while not tally.complete:
            tally.film(env)
            actions, _ = model.predict(observations, deterministic=deterministic)
            observations, rewards, dones, infos = env.step(actions)
            tally.count(rewards, dones, infos)
    return tally.scores()


def play_and_close(model: Any, env: VecEnv, *, episodes_per_env: int, seed: int) -> LevelScores:
    """As `evaluate_on_levels`, for an environment that is needed for nothing else."""
    try:
        return evaluate_on_levels(model, env, episodes_per_env=episodes_per_env, seed=seed)
    finally:
        env.close()


class _Tally:
    """Keeps count of episodes until every environment has played its own."""

    def __init__(self, number: int, episodes: int, videos: int):
        self.returns = np.zeros((number, episodes))
        self.lengths = np.zeros((number, episodes), np.int64)
        self.finished = np.zeros(number, np.int64)
        self.videos: list[list[np.ndarray]] = [[] for _ in range(videos)]

    @property
    def complete(self) -> bool:
        return bool((self.finished == self.returns.shape[1]).all())

    def film(self, env: VecEnv) -> None:
        """Keeps the present frames of first episodes."""
        filmed = [row for row in range(len(self.videos)) if not self.finished[row]]
        pictures = env.get_images() if filmed else ()
        for row in filmed:
            self.videos[row].append(np.array(pictures[row]))

    def count(self, rewards: np.ndarray, dones: np.ndarray, infos: list[dict[str, Any]]) -> None:
        """Takes in one step."""
        for row in np.flatnonzero(self.finished < self.returns.shape[1]):
            episode = row, self.finished[row]
            self.returns[episode] += rewards[row]
            self.lengths[episode] += 1
            if dones[row]:
                if "episode" in infos[row]:  # rewards may have been changed since
                    self.returns[episode] = infos[row]["episode"]["r"]
                self.finished[row] += 1

    def scores(self) -> LevelScores:
        videos = [np.stack(frames) for frames in self.videos]
        return LevelScores(returns=self.returns, lengths=self.lengths, videos=videos)
