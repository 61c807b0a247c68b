"""Procgen as a vector environment of Stable-Baselines3, with the pictures that `flam-train collect` records."""

from collections.abc import Iterable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from flam_train.sources.procgen.games import ACTIONS, GAMES
from flam_train.sources.procgen.simulators import Simulators
from flam_train.store.store import EpisodeStore

try:
    from stable_baselines3.common.vec_env.base_vec_env import VecEnv
except ModuleNotFoundError as error:
    if error.name != "stable_baselines3":
        raise
    raise ModuleNotFoundError(
        "playing with Stable-Baselines3 needs it: pip install 'flam-env[rl,procgen]'", name=error.name
    ) from error

FRAMES_PER_SECOND = 15  # at which Procgen is meant to be watched


class ProcgenVecEnv(VecEnv):
    """One batch of simulators of a game: easy mode, no backgrounds, levels of one split.

    Observations are uint8 (num_envs, size, size, 3), actions integers in [0, 15). An episode that ends is followed by
    the next one in the same step, and its info has:

    - `terminal_observation`: the last picture of the episode that exists, which is the one before its last action,
      for Procgen never shows an end;
    - `TimeLimit.truncated`: whether the game's own time limit ended it (6000 steps in bigfish, 500 in leaper, 1000 in
      starpilot), so that algorithms bootstrap there;
    - `level_seed`, as in every info and in `reset_infos`: the level that was played.

    Wrap it in `VecMonitor` for episode statistics; algorithms with a CnnPolicy wrap it in `VecTransposeImage`.

    Pictures are the 512-pixel render averaged down, the same as in a store. The simulator's native ones show the same
    moment but are sampled otherwise: on average over all values of a picture they differ by 0.4 of 255 in bigfish, 0.7
    in starpilot and 9 in leaper, while a step of the game changes 0.6, 1.4 and 2.0. A policy must therefore see the
    kind that it learned on. The native kind is some 50 times faster, and meant for reinforcement learning from
    scratch.

    Args:
        game: bigfish, leaper or starpilot.
        num_envs: how many simulators, at least 1.
        split: whose levels are played: train, val or test; they are disjoint.
        size: height and width of the pictures: 64, 128 or 224.
        native: give the simulator's native 64-pixel pictures instead.
        seed: decides the levels and all else that is random, until `seed` is called; 0 <= seed < 2**31.
        threads: of the batch, besides the caller's.

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
        size: int = 64,
        native: bool = False,
        seed: int = 0,
        threads: int = 0,
    ):
        self.simulators = Simulators(game, num_envs, split=split, size=size, native=native, seed=seed, threads=threads)
        self.game, self.split, self.size, self.native = game, split, size, native
        self.render_mode = "rgb_array"
        pixels = gym.spaces.Box(0, 255, (size, size, 3), np.uint8)
        super().__init__(num_envs, pixels, gym.spaces.Discrete(ACTIONS))
        self.metadata = {"render_modes": [self.render_mode], "render_fps": FRAMES_PER_SECOND}  # type: ignore[dict-item]

    @classmethod
    def of_store(
        cls, store: EpisodeStore, num_envs: int = 1, *, split: str = "train", game: str | None = None
    ) -> "ProcgenVecEnv":
        """The game that was recorded in a store, with the same kind of pictures.

        Args:
            store: what was recorded.
            num_envs: as for the class.
            split: as for the class.
            game: what videos show; a store that was collected knows its game.

        Raises:
            ValueError: the store is of no game, or of another one.
        """
        source = f"procgen/{game}" if store.source == "video" else store.source
        recorded = {f"procgen/{each}": each for each in GAMES}.get(source)
        if recorded is None or game not in (None, recorded):
            raise ValueError(
                f"{store.root}: expected a store of {game or ', '.join(GAMES)}, got {store.source}; name one that "
                "`flam-train collect` made of a game, or the game that the videos show"
            )
        return cls(recorded, num_envs, split=split, size=store.size, native=bool(store.settings.get("native")))

    def reset(self) -> np.ndarray:
        """Begins new episodes everywhere -> pictures uint8 (num_envs, size, size, 3).

        After `seed` they are those of the seed; otherwise play goes on with the next levels.
        """
        if self._seeds[0] is not None:
            self.simulators.seed(self._seeds[0])
        self._reset_seeds()
        self._reset_options()
        pictures = self.simulators.reset()
        self._note_levels(range(self.num_envs))
        return pictures

    def _note_levels(self, rows: Iterable[int]) -> None:
        for row in rows:
            self.reset_infos[row] = {"level_seed": self.simulators.level_seeds[row]}

    def step_async(self, actions: np.ndarray) -> None:
        """Remembers the actions, integers (num_envs,) in [0, 15).

        Raises:
            ValueError: other actions.
        """
        actions = np.asarray(actions)
        wrong = actions.shape != (self.num_envs,) or actions.dtype.kind not in "iu"
        if wrong or not ((actions >= 0) & (actions < ACTIONS)).all():
            raise ValueError(
                f"expected {self.num_envs} integer actions in [0, {ACTIONS - 1}], got {actions.dtype} {actions}; "
                "give one for each environment"
            )
        self._actions = actions.astype(np.int32)

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Steps -> pictures uint8 (B, H, W, 3), rewards float32 (B,), dones bool (B,), one info for each."""
        pictures, rewards, dones, infos = self.simulators.step(self._actions)
        self._note_levels(np.flatnonzero(dones))
        return pictures, rewards, dones, infos

    def close(self) -> None:
        """Frees the simulators."""
        self.simulators.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        """The present pictures, uint8 (size, size, 3) each."""
        return self.simulators.get_images()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of this object, once for each environment."""
        return [getattr(self, attr_name)] * len(self._get_indices(indices))  # type: ignore[arg-type]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Not supported: the environments are one batch and share their attributes."""
        raise NotImplementedError(f"expected no change of {attr_name!r}: all environments share it; make new ones")

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Not supported: there are no single environments."""
        raise NotImplementedError(f"expected no call of {method_name!r}: there are no single environments to ask")

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: Any = None) -> list[bool]:
        """Never: there are no single environments to wrap."""
        return [False] * len(self._get_indices(indices))  # type: ignore[arg-type]
