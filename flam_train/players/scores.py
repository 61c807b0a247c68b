"""How well somebody plays: one way to count episodes, whoever plays, and one report of them."""

import contextlib
import math
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch


class Player(Protocol):
    """Whoever chooses actions by what is to be seen: an SB3 algorithm or policy without memory, or alike."""

    def predict(self, observations: np.ndarray, /, *, deterministic: bool = False) -> tuple[np.ndarray, Any]:
        """Observations (B, ...) -> actions (B,), and what nobody looks at."""


class Levels(Protocol):
    """A batch in which the next episode begins where one ends: a `VecEnv`, or `Simulators`."""

    num_envs: int

    def seed(self, seed: int, /) -> Any:
        """Decides what the next `reset` begins."""

    def reset(self) -> Any:
        """Begins episodes everywhere -> observations."""

    def step(self, actions: np.ndarray, /) -> Any:
        """Actions -> observations, rewards, dones, and one info for each."""

    def get_images(self) -> Any:
        """The present pictures."""


@dataclass(frozen=True, kw_only=True)
class LevelScores:
    """What came of E episodes in each of B environments.

    Attributes:
        returns: sum of rewards of each episode, not discounted, float64 (B, E).
        lengths: steps of each episode, int64 (B, E).
        seconds: processor time of all of them.
        videos: frames uint8 (T, H, W, 3) of the first episodes that were asked for, one per environment.
    """

    returns: np.ndarray
    lengths: np.ndarray
    seconds: float
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

    def __str__(self) -> str:
        """All that a person wants to know, in one line."""
        return (
            f"return {self.mean:.2f} +- {self.standard_error:.2f} (standard error of {self.returns.size} episodes), "
            f"{self.lengths.mean():.0f} frames per episode, {self.lengths.sum() / self.seconds:.0f} frames/s per core"
        )


def evaluate_on_levels(
    player: Player,
    env: Levels,
    *,
    episodes_per_env: int = 4,
    deterministic: bool = False,
    seed: int = 0,
    videos: int = 0,
    idle: int | None = None,
    max_steps: int | None = None,
) -> LevelScores:
    """Plays a fixed number of episodes in every environment of a batch.

    Taking the first episodes to finish, wherever they do, would over-weight short ones. Differs from SB3's
    `evaluate_policy` in that it is seeded, samples actions, and returns episodes by environment.

    Args:
        player: e.g. an SB3 algorithm or policy without memory.
        env: e.g. `ProcgenVecEnv("bigfish", 16, split="test")`, perhaps wrapped; it is seeded and reset. Where a
            `VecMonitor` is among the wrappers, its returns count.
        episodes_per_env: episodes played in each environment.
        deterministic: take the most likely action instead of sampling one.
        seed: decides levels and sampled actions; torch's own generators are left as they were.
        videos: the first episode of so many environments is kept for a video.
        idle: the action of environments that have played theirs, for which the player is not asked any more; by
            default it plays on there, and what it does is not counted.
        max_steps: play ends here, and episodes that are not over count as they are; by default all are played to
            their end.

    Raises:
        ValueError: a number is out of range, or the policy is made for other observations.
    """
    if episodes_per_env < 1 or not 0 <= videos <= env.num_envs or seed < 0:
        raise ValueError(
            f"expected episodes_per_env >= 1, 0 <= videos <= {env.num_envs} environments and seed >= 0, got "
            f"{episodes_per_env}, {videos} and {seed}; change what is out of range"
        )
    tally, started = _Tally(env.num_envs, episodes_per_env, videos), time.process_time()
    env.seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        observations = env.reset()
        while not tally.complete and tally.steps != max_steps:
            tally.film(env)
            actions = _actions(player, observations, tally.playing, deterministic, idle)
            observations, rewards, dones, infos = env.step(actions)
            tally.count(rewards, dones, infos)
    return tally.scores(time.process_time() - started)


def _actions(
    player: Player, observations: np.ndarray, playing: np.ndarray, deterministic: bool, idle: int | None
) -> np.ndarray:
    """What the player does, at least where it is still playing, bool (B,)."""
    if idle is None:
        return player.predict(observations, deterministic=deterministic)[0]
    actions = np.full(len(playing), idle)
    actions[playing] = player.predict(observations[playing], deterministic=deterministic)[0]
    return actions


def play_and_close(player: Player, env: Any, **settings: Any) -> LevelScores:
    """As `evaluate_on_levels`, for an environment that is needed for nothing else."""
    with contextlib.closing(env):
        return evaluate_on_levels(player, env, **settings)


class _Tally:
    """Keeps count of episodes until every environment has played its own."""

    def __init__(self, number: int, episodes: int, videos: int):
        self.returns = np.zeros((number, episodes))
        self.lengths = np.zeros((number, episodes), np.int64)
        self.finished = np.zeros(number, np.int64)
        self.videos: list[list[np.ndarray]] = [[] for _ in range(videos)]
        self.steps = 0

    @property
    def playing(self) -> np.ndarray:
        """Which environments have episodes left, bool (B,)."""
        return self.finished < self.returns.shape[1]

    @property
    def complete(self) -> bool:
        return not self.playing.any()

    def film(self, env: Levels) -> None:
        """Keeps the present frames of first episodes."""
        filmed = [row for row in range(len(self.videos)) if not self.finished[row]]
        pictures = env.get_images() if filmed else ()
        for row in filmed:
            self.videos[row].append(np.array(pictures[row]))

    def count(self, rewards: np.ndarray, dones: np.ndarray, infos: list[dict[str, Any]]) -> None:
        """Takes in one step."""
        self.steps += 1
        for row in np.flatnonzero(self.playing):
            episode = row, self.finished[row]
            self.returns[episode] += rewards[row]
            self.lengths[episode] += 1
            if dones[row]:
                if "episode" in infos[row]:  # rewards may have been changed since
                    self.returns[episode] = infos[row]["episode"]["r"]
                self.finished[row] += 1

    def scores(self, seconds: float) -> LevelScores:
        videos = [np.stack(frames) for frames in self.videos]
        return LevelScores(returns=self.returns, lengths=self.lengths, seconds=seconds, videos=videos)
