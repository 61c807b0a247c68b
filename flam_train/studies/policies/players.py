"""Who plays without having learned from labels: the demonstrator that is cloned, and chance."""

from typing import Any

import numpy as np

from flam_train.players.policy import Demonstrator
from flam_train.sources.procgen.simulators import ACTIONS


class RandomPlayer:
    """Takes every real action equally often."""

    def __init__(self, seed: int):
        self._rng = np.random.default_rng(seed)

    def predict(self, observations: np.ndarray, deterministic: bool = False) -> tuple[np.ndarray, None]:
        """Frames (B, H, W, 3) -> actions int64 (B,); as a Stable-Baselines3 model has it."""
        return self._rng.integers(ACTIONS, size=len(observations)), None


class DemonstratorPlayer:
    """A demonstrator as it plays when it is recorded, on the simulator's native frames.

    Args:
        demonstrator: who plays.
        seed: decides what it draws, if it does.
    """

    def __init__(self, demonstrator: Demonstrator, seed: int):
        self._demonstrator, self._rng = demonstrator, np.random.default_rng(seed)

    def predict(self, observations: np.ndarray, deterministic: bool = False) -> tuple[np.ndarray, Any]:
        """Frames (B, 64, 64, 3) -> actions int64 (B,); as a Stable-Baselines3 model has it."""
        return self._demonstrator.actions(observations, self._rng), None
