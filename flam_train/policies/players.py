"""Who plays without having learned from labels: the demonstrator that is cloned, and chance."""

from pathlib import Path
from typing import Any

import numpy as np

from flam_train.data.policy import Policy, choose, load_policy
from flam_train.data.procgen import ACTIONS, distinct_actions


class RandomPlayer:
    """Takes every real action equally often."""

    def __init__(self, seed: int):
        self._rng = np.random.default_rng(seed)

    def predict(self, observations: np.ndarray, deterministic: bool = False) -> tuple[np.ndarray, None]:
        """Frames (B, H, W, 3) -> actions int64 (B,); as a Stable-Baselines3 model has it."""
        return self._rng.integers(ACTIONS, size=len(observations)), None


class DemonstratorPlayer:
    """A demonstrator as it plays when it is recorded: on the simulator's native frames, without chance.

    Args:
        policy: as `load_policy` returns it.
    """

    def __init__(self, policy: Policy):
        self._policy, self._actions = policy, distinct_actions(policy.config.game)

    @classmethod
    def load(cls, path: Path, game: str) -> "DemonstratorPlayer":
        """The demonstrator of a file that `flam-train demonstrator` or `reinforce` wrote."""
        return cls(load_policy(path, game))

    def predict(self, observations: np.ndarray, deterministic: bool = False) -> tuple[np.ndarray, Any]:
        """Frames (B, 64, 64, 3) -> actions int64 (B,); as a Stable-Baselines3 model has it."""
        return self._actions[choose(self._policy, observations, None)], None
