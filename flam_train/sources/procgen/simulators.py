"""The Procgen games as a source of video: easy mode, no backgrounds, levels disjoint between the splits.

The 512-pixel render is averaged down to the size of the store. Procgen is imported in this file only, lazily.
"""

import contextlib
import io
import sys
from typing import Any, Protocol

import numpy as np

from flam_train.data.store import Episode

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


def import_simulator() -> Any:
    """Imports Procgen's gym3 environment class.

    Raises:
        ImportError: the package, or a shared library that it needs, is missing; the message names the remedy.
    """
    path = list(sys.path)
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # gym greets everyone with a notice
            from procgen import ProcgenGym3Env
    except ModuleNotFoundError as error:
        raise ImportError(
            f"Procgen is not installed ({error}); install it with: pip install 'flam-env[procgen]'"
        ) from error
    except (ImportError, OSError) as error:
        raise _missing_library(error) from error
    finally:
        sys.path[:] = path  # procgen appends a folder of its builder's machine
    return ProcgenGym3Env


def import_pillow() -> Any:
    """Imports Pillow's Image module, or says how to install it."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("resizing needs pillow; install it with: pip install 'flam-env[procgen]'") from error
    return Image


def _missing_library(error: Exception) -> ImportError:
    return ImportError(
        f"Procgen cannot load a shared library ({error}); on Debian and Ubuntu install them with: "
        "apt-get install libgl1 libglib2.0-0"
    )


def open_simulators(
    game: str, number: int, *, first_level: int, levels: int, seed: int, render: bool, threads: int = 0
) -> Any:
    """Opens a gym3 batch of one game.

    Args:
        game: one of GAMES.
        number: simulators in the batch.
        first_level: lowest level seed.
        levels: how many level seeds from there.
        seed: decides which of the levels are drawn, 0 <= seed < 2**31.
        render: whether `get_info` gives the 512-pixel picture.
        threads: of the batch, besides the caller's.

    Raises:
        ImportError: Procgen or a shared library is missing.
    """
    simulator = import_simulator()
    try:
        return simulator(
            num=number,
            env_name=check_game(game),
            distribution_mode="easy",
            use_backgrounds=False,
            start_level=first_level,
            num_levels=levels,
            rand_seed=seed,
            num_threads=threads,
            render_mode="rgb_array" if render else None,
        )
    except OSError as error:
        raise _missing_library(error) from error


class Game:
    """One episode of a game on a level of a split, with or without pictures.

    Args:
        game: one of GAMES.
        split: "train", "val" or "test".
        seed: decides the level, 0 <= seed < 2**31.
        size: frame size in pixels, or None to play without pictures.
    """

    def __init__(self, game: str, split: str, *, seed: int, size: int | None):
        self.name = check_game(game)
        self.size = None if size is None else check_size(size)
        first, levels = SPLIT_LEVELS[split]
        self._simulator = open_simulators(game, 1, first_level=first, levels=levels, seed=seed, render=size is not None)
        self._simulator.observe()
        self.level_seed = int(self._simulator.get_info()[0]["level_seed"])
        assert first <= self.level_seed < first + levels, f"level {self.level_seed} is not one of {split}"

    def frame(self) -> np.ndarray:
        """The picture of this moment, uint8 (size, size, 3)."""
        assert self.size is not None, "this game was opened without pictures"
        return resize(self._simulator.get_info()[0]["rgb"], self.size)

    def observation(self) -> np.ndarray:
        """The simulator's own picture of this moment, uint8 (64, 64, 3), whatever the size of the frames."""
        return self._simulator.observe()[1]["rgb"][0].copy()

    def step(self, action: int) -> tuple[float, bool]:
        """Acts once; returns the reward and whether the episode ended (its last moment is never shown)."""
        self._simulator.act(np.array([action], dtype=np.int32))
        reward, _, first = self._simulator.observe()
        return float(reward[0]), bool(first[0])

    def state(self) -> bytes:
        """The whole state of the simulator, which any other simulator of this game can continue."""
        return self._simulator.callmethod("get_state")[0]

    def close(self) -> None:
        """Frees the simulator."""
        self._simulator.close()


def resize(picture: np.ndarray, size: int) -> np.ndarray:
    """Averages areas of a picture, uint8 (H, W, 3) -> uint8 (size, size, 3); the same everywhere."""
    Image = import_pillow()  # noqa: N806
    image = Image.fromarray(picture)
    if picture.shape[0] % size == 0 and picture.shape[0] == picture.shape[1]:
        return np.asarray(image.reduce(picture.shape[0] // size))
    return np.asarray(image.resize((size, size), Image.Resampling.BOX))


class Agent(Protocol):
    """Whoever plays: told when an episode begins, asked for an action at every frame."""

    name: str

    def begin(self, rng: np.random.Generator) -> None:
        """Forgets the last episode and takes the randomness of the next one."""

    def act(self, game: Game) -> int:
        """Chooses an action without changing the game."""


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
    level, choices = np.random.SeedSequence(seed).spawn(2)
    played = Game(game, split, seed=int(level.generate_state(1)[0] >> 1), size=size)
    agent.begin(np.random.default_rng(choices))
    frames: list[np.ndarray] = []
    actions: list[int] = []
    rewards: list[float] = []
    ended = False
    while not ended and len(frames) < max_frames:
        frames.append(played.observation() if size is None else played.frame())
        actions.append(agent.act(played))
        reward, ended = played.step(actions[-1])
        rewards.append(reward)
    played.close()
    return Episode(
        frames=np.stack(frames),
        actions=np.array(actions, dtype=np.int16),
        rewards=np.array(rewards, dtype=np.float32),
        level_seed=played.level_seed,
        agent=agent.name,
        terminated=ended,
    )
