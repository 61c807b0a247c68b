"""Procgen's simulators, many of one game in step: pictures, levels disjoint between the splits, saved states.

Procgen is imported in this file only, lazily.
"""

import contextlib
import io
import sys
from typing import Any

import numpy as np

from flam_train.sources.procgen.games import (
    NATIVE_SIZE,
    SPLIT_LEVELS,
    TIME_LIMITS,
    check_game,
    check_size,
)

RESET = -1  # the action that makes a simulator begin a new episode


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
            f"Procgen is not installed ({error}); its wheels are for Python 3.11 and 3.12 on Linux (x86_64): "
            "pip install 'flam-env[procgen]'"
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


def simulator_seed(sequence: np.random.SeedSequence) -> int:
    """A seed for simulators, 0 <= seed < 2**31."""
    return int(sequence.generate_state(1)[0] >> 1)


def resize(picture: np.ndarray, size: int) -> np.ndarray:
    """Averages areas of a picture, uint8 (H, W, 3) -> uint8 (size, size, 3); the same everywhere."""
    Image = import_pillow()  # noqa: N806
    image = Image.fromarray(picture)
    if picture.shape[0] % size == 0 and picture.shape[0] == picture.shape[1]:
        return np.asarray(image.reduce(picture.shape[0] // size))
    return np.asarray(image.resize((size, size), Image.Resampling.BOX))


class Simulators:
    """A batch of one game, each on a level of its own; where an episode ends, the next one begins in the same step.

    It has the methods of a vector environment without needing the package of one. `ProcgenVecEnv` is its face to
    Stable-Baselines3, and says what is in the infos and which pictures there are.

    Args:
        game: bigfish, leaper or starpilot.
        num_envs: how many, at least 1.
        split: whose levels are played: train, val or test; they are disjoint.
        size: height and width of the pictures: 64, 128 or 224.
        native: give the simulator's native 64-pixel pictures instead of its 512-pixel render, averaged down.
        seed: decides the levels and all else that is random, until `seed` is called; 0 <= seed < 2**31.
        threads: of the batch, besides the caller's.

    Attributes:
        level_seeds: the level of each, int.

    Raises:
        ValueError: an argument is out of range.
        ImportError: Procgen, Pillow or a shared library is missing.
    """

    def __init__(
        self,
        game: str,
        num_envs: int = 1,
        *,
        split: str = "train",
        size: int = NATIVE_SIZE,
        native: bool = False,
        seed: int = 0,
        threads: int = 0,
    ):
        self.game, self.split, self.native = check_game(game), split, native
        self.num_envs, self.size, self.threads = num_envs, check_size(size, native=native), threads
        if split not in SPLIT_LEVELS or num_envs < 1 or threads < 0 or not 0 <= seed < 2**31:
            raise ValueError(
                f"expected a split of {', '.join(SPLIT_LEVELS)}, num_envs >= 1, threads >= 0 and 0 <= seed < 2**31, "
                f"got {split!r}, {num_envs}, {threads} and {seed}; change what is out of range"
            )
        if not native:
            import_pillow()
        self._batch: Any = None
        self._next_seed: int | None = None
        self._open(seed)

    def _open(self, seed: int) -> None:
        self.close()
        first, levels = SPLIT_LEVELS[self.split]
        self._batch = open_simulators(
            self.game,
            self.num_envs,
            first_level=first,
            levels=levels,
            seed=seed,
            render=not self.native,
            threads=self.threads,
        )
        self._seed, self._fresh, self._lengths = seed, True, np.zeros(self.num_envs, np.int64)
        self._look()

    def _look(self) -> tuple[np.ndarray, np.ndarray]:
        """Takes in the present moment -> rewards float32 (num_envs,), and whether it is the first of an episode."""
        rewards, seen, first = self._batch.observe()
        self._infos, self._native_pictures = self._batch.get_info(), seen["rgb"]
        self._pictures: np.ndarray | None = None
        self.level_seeds = [int(info["level_seed"]) for info in self._infos]
        return rewards.copy(), first.astype(bool)

    def pictures(self) -> np.ndarray:
        """What is to be seen at present, uint8 (num_envs, size, size, 3); made once for each moment."""
        if self._pictures is None:
            rendered = [] if self.native else [resize(info["rgb"], self.size) for info in self._infos]
            self._pictures = self.native_pictures() if self.native else np.stack(rendered)
        return self._pictures

    def native_pictures(self) -> np.ndarray:
        """The simulators' own pictures of this moment, uint8 (num_envs, 64, 64, 3), whatever `pictures` gives."""
        return self._native_pictures.copy()

    def states(self) -> list[bytes]:
        """The whole state of each, which any other simulator of this game can continue."""
        return self._batch.callmethod("get_state")

    def seed(self, seed: int) -> None:
        """Lets the next `reset` begin what this seed decides."""
        self._next_seed = seed % 2**31

    def reset(self) -> np.ndarray:
        """Begins new episodes everywhere -> pictures; after `seed` those of the seed, otherwise the next levels."""
        seed, self._next_seed = self._next_seed, None
        if seed is not None and not (self._fresh and seed == self._seed):
            self._open(seed)
        elif not self._fresh:
            self._batch.act(np.full(self.num_envs, RESET, np.int32))
            self._look()
        self._fresh = False
        self._lengths[:] = 0
        return self.pictures()

    def act(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Acts once, integers (num_envs,) -> rewards float32 (num_envs,), and where an episode ended, bool."""
        self._batch.act(np.ascontiguousarray(actions, dtype=np.int32))
        self._fresh = False
        return self._look()

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Acts once -> pictures, rewards float32 (num_envs,), dones bool (num_envs,), one info for each."""
        before, levels = self.pictures(), self.level_seeds
        rewards, dones = self.act(actions)
        self._lengths += 1
        infos: list[dict[str, Any]] = [{"level_seed": level, "TimeLimit.truncated": False} for level in levels]
        for row in np.flatnonzero(dones):
            late = self._lengths[row] >= TIME_LIMITS[self.game]
            infos[row]["TimeLimit.truncated"] = bool(late and not self._infos[row]["prev_level_complete"])
            infos[row]["terminal_observation"] = before[row]
        self._lengths[dones] = 0
        return self.pictures(), rewards, dones, infos

    def get_images(self) -> list[np.ndarray]:
        """The present pictures, uint8 (size, size, 3) each."""
        return list(self.pictures())

    def close(self) -> None:
        """Frees the simulators."""
        if self._batch is not None:
            self._batch.close()
            self._batch = None
