"""Whole episodes of a game, one after another, as an agent plays them."""

import contextlib
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple, Protocol

import numpy as np

from flam_train.sources.procgen.games import SPLIT_LEVELS
from flam_train.sources.procgen.simulators import Simulators, simulator_seed
from flam_train.store.store import Episode


class Game:
    """One episode of a game on a level of a split, with or without pictures.

    Args:
        game: one of GAMES.
        split: "train", "val" or "test".
        seed: decides the level, 0 <= seed < 2**31.
        size: frame size in pixels, or None to play without pictures.
    """

    def __init__(self, game: str, split: str, *, seed: int, size: int | None):
        pictures = {"native": True} if size is None else {"size": size}
        self.size = size
        self._simulators = Simulators(game, split=split, seed=seed, **pictures)
        (self.level_seed,) = self._simulators.level_seeds
        first, levels = SPLIT_LEVELS[split]
        assert first <= self.level_seed < first + levels, f"level {self.level_seed} is not one of {split}"

    def frame(self) -> np.ndarray:
        """The picture of this moment, uint8 (size, size, 3)."""
        assert self.size is not None, "this game was opened without pictures"
        return self._simulators.pictures()[0]

    def observation(self) -> np.ndarray:
        """The simulator's own picture of this moment, uint8 (64, 64, 3), whatever the size of the frames."""
        return self._simulators.native_pictures()[0]

    def step(self, action: int) -> tuple[float, bool]:
        """Acts once; returns the reward and whether the episode ended (its last moment is never shown)."""
        (reward,), (ended,) = self._simulators.act(np.array([action]))
        return float(reward), bool(ended)

    def state(self) -> bytes:
        """The whole state of the simulator, which any other simulator of this game can continue."""
        return self._simulators.states()[0]

    def close(self) -> None:
        """Frees the simulator."""
        self._simulators.close()


class Agent(Protocol):
    """Whoever plays: told when an episode begins, asked for an action at every frame."""

    name: str

    def begin(self, rng: np.random.Generator) -> None:
        """Forgets the last episode and takes the randomness of the next one."""

    def act(self, game: Game) -> int:
        """Chooses an action without changing the game."""


class Step(NamedTuple):
    """A step of an episode: what was seen, what was done then, the reward for it, and whether it was the last."""

    frame: np.ndarray
    action: int
    reward: float
    ended: bool


def open_game(
    game: str, split: str, seed: np.random.SeedSequence, *, size: int | None
) -> tuple[Game, np.random.Generator]:
    """A game on the level that a seed decides, and the randomness of who plays it."""
    level, choices = seed.spawn(2)
    return Game(game, split, seed=simulator_seed(level), size=size), np.random.default_rng(choices)


def play(played: Game, agent: Agent, rng: np.random.Generator) -> Iterator[Step]:
    """Lets an agent play a game to its end, one step after another."""
    agent.begin(rng)
    ended = False
    while not ended:
        frame = played.observation() if played.size is None else played.frame()
        action = agent.act(played)
        reward, ended = played.step(action)
        yield Step(frame, action, reward, ended)


def record_episode(
    game: str, split: str, agent: Agent, *, seed: list[int], size: int | None, max_frames: int
) -> Episode:
    """Plays one episode and keeps its pictures.

    Args:
        game: name of the game.
        split: decides the range of levels.
        agent: who plays.
        seed: non-negative integers that decide the level and the agent's randomness.
        size: height and width of the frames in pixels; None for the simulator's own pictures.
        max_frames: the episode is cut there.
    """
    played, rng = open_game(game, split, np.random.SeedSequence(seed), size=size)
    with contextlib.closing(played):
        steps = list(islice(play(played, agent, rng), max_frames))
    return Episode(
        frames=np.stack([step.frame for step in steps]),
        actions=np.array([step.action for step in steps], dtype=np.int16),
        rewards=np.array([step.reward for step in steps], dtype=np.float32),
        level_seed=played.level_seed,
        agent=agent.name,
        terminated=steps[-1].ended,
    )
