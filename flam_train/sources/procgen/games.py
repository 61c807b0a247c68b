"""What is known of the games: their actions, levels and limits. Easy mode, no backgrounds."""

import numpy as np

GAMES = ("bigfish", "leaper", "starpilot")
SIZES = (64, 128, 224)
NATIVE_SIZE = 64
SPLIT_LEVELS = {"train": (0, 100_000), "val": (100_000, 10_000), "test": (110_000, 10_000)}
"""First level and number of levels of each split."""

ACTIONS = 15
"""Number of actions, in every game."""
TIME_LIMITS = {"bigfish": 6000, "leaper": 500, "starpilot": 1000}
"""Steps after which a game ends an episode by itself, as its saved state says."""

NOOP = 4
_BIGFISH = (*range(9), *[NOOP] * 6)
_LEAPER = (1, 1, 1, 3, 4, 5, 7, 7, 7, *[NOOP] * 6)
_STARPILOT = (*range(9), 9, 10, 9, 9, 9, 9)
ACTION_CLASS = {"bigfish": _BIGFISH, "leaper": _LEAPER, "starpilot": _STARPILOT}
"""For each game and each of Procgen's 15 actions, the action that stands for all those with the same effect."""

_LEFT_RIGHT = (6, 7, 8, 3, 4, 5, 0, 1, 2, *range(9, ACTIONS))
_UP_DOWN = (2, 1, 0, 5, 4, 3, 8, 7, 6, *range(9, ACTIONS))
MIRRORS = {"bigfish": {1: _LEFT_RIGHT, 0: _UP_DOWN}, "leaper": {1: _LEFT_RIGHT}, "starpilot": {0: _UP_DOWN}}
"""How frames of a game may be mirrored and look like it still: by axis, 0 of rows or 1 of columns, what each action
becomes."""


def distinct_actions(game: str) -> np.ndarray:
    """Actions of a game that differ in effect, int32 (A,), ascending."""
    return np.unique(np.array(ACTION_CLASS[check_game(game)], dtype=np.int32))


def straight_first(game: str) -> list[int]:
    """The distinct actions of a game in the order that settles ties: idle, then straight moves, then the others."""
    return sorted(distinct_actions(game).tolist(), key=lambda action: (action != NOOP, action % 2 == 0, action))


def first_of_best(values: np.ndarray, game: str, tolerance: float) -> np.ndarray:
    """The action of most value, where those within the tolerance of it count as equal: the first of `straight_first`.

    Args:
        values: (B, A) of the distinct actions.
        game: name of the game.
        tolerance: in units of the values.

    Returns:
        Indices into the distinct actions, int64 (B,).
    """
    order = np.searchsorted(distinct_actions(game), straight_first(game))
    ordered = values[:, order]
    return order[(ordered >= ordered.max(axis=1, keepdims=True) - tolerance).argmax(axis=1)]


def check_game(game: str) -> str:
    """Returns the name of a game, or raises a ValueError that lists those known."""
    if game not in GAMES:
        raise ValueError(f"expected a game out of {', '.join(GAMES)}, got {game!r}; name one of them")
    return game


def check_size(size: int, *, native: bool = False) -> int:
    """Returns a frame size in pixels, or raises a ValueError that lists those possible; native frames have one only."""
    if size not in SIZES:
        raise ValueError(f"expected a size out of {', '.join(map(str, SIZES))} pixels, got {size!r}; use one of them")
    if native and size != NATIVE_SIZE:
        raise ValueError(f"expected size {NATIVE_SIZE} for native pictures, got {size}; leave native out")
    return size
