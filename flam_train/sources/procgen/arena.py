"""Many games of one kind side by side, each on a level of its own, seen as a policy sees them."""

import numpy as np

from flam_train.sources.procgen.simulators import SPLIT_LEVELS, open_simulators


class Arena:
    """Games that are played in step; where one ends, the next level begins.

    Args:
        game: name of the game.
        split: decides the range of levels.
        number: games.
        seed: decides the levels, 0 <= seed < 2**31.
    """

    def __init__(self, game: str, split: str, *, number: int, seed: int):
        first, levels = SPLIT_LEVELS[split]
        self._batch = open_simulators(game, number, first_level=first, levels=levels, seed=seed, render=False)

    def frames(self) -> np.ndarray:
        """The simulator's own pictures of this moment, uint8 (games, 64, 64, 3)."""
        return self._batch.observe()[1]["rgb"].copy()

    def states(self) -> list[bytes]:
        """The whole state of each game."""
        return self._batch.callmethod("get_state")

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Acts once, int32 (games,); returns rewards float32 (games,) and which games began anew, bool (games,)."""
        self._batch.act(np.ascontiguousarray(actions, dtype=np.int32))
        rewards, _, ended = self._batch.observe()
        return rewards.copy(), ended.copy()

    def close(self) -> None:
        """Frees the games."""
        self._batch.close()
