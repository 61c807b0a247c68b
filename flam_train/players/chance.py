"""Who plays by chance."""

import numpy as np

from flam_train.sources.procgen.episodes import Game
from flam_train.sources.procgen.games import ACTIONS, distinct_actions


class RandomAgent:
    """Repeats its last action with probability `stickiness`, else draws among the distinct actions."""

    name = "random"

    def __init__(self, game: str, stickiness: float = 0.75):
        self._actions = distinct_actions(game)
        self._stickiness = stickiness

    def begin(self, rng: np.random.Generator) -> None:
        """Starts an episode with a fresh action."""
        self._rng = rng
        self._action = int(rng.choice(self._actions))

    def act(self, game: Game) -> int:
        """Keeps or redraws the action."""
        if self._rng.random() >= self._stickiness:
            self._action = int(self._rng.choice(self._actions))
        return self._action


class HeldKeysAgent:
    """Draws among the distinct actions and holds each for so many frames, whatever the game shows.

    What it does next cannot be told from what it did or from what is to be seen, except while a key is held.
    """

    name = "random"

    def __init__(self, game: str, held: int):
        self._actions = distinct_actions(game)
        self._held = held

    def begin(self, rng: np.random.Generator) -> None:
        """Starts an episode with a fresh action."""
        self._rng = rng
        self._frames = 0

    def act(self, game: Game) -> int:
        """Keeps the action, or draws another one when its time is over."""
        if self._frames % self._held == 0:
            self._action = int(self._rng.choice(self._actions))
        self._frames += 1
        return self._action


class RandomPlayer:
    """Takes every real action equally often.

    Args:
        seed: decides which.
    """

    def __init__(self, seed: int):
        self._rng = np.random.default_rng(seed)

    def predict(self, observations: np.ndarray, deterministic: bool = False) -> tuple[np.ndarray, None]:
        """Frames (B, H, W, 3) -> actions int64 (B,); as a Stable-Baselines3 model has it."""
        return self._rng.integers(ACTIONS, size=len(observations)), None
