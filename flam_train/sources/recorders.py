"""What can be collected: how each source is named in a store, what decides its episodes, and how one is recorded."""

import functools
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from flam_env.validation import check_integer
from flam_train.players.chance import HeldKeysAgent, RandomAgent
from flam_train.players.planner import PRESETS, Planner
from flam_train.sources.multigrid import RoomConfig, check_room_size, import_multigrid, record_room_episode
from flam_train.sources.procgen.episodes import Agent, record_episode
from flam_train.sources.procgen.games import check_game, check_size
from flam_train.sources.procgen.simulators import import_pillow, import_simulator
from flam_train.sources.synthetic_drive.recording import SETTINGS, check_picture_size, record_drive
from flam_train.store.episode import Episode

AGENTS = ("planner", "random", "demonstrator")
"""Who acts in the episodes; the order belongs to their seeds."""


class Recorder(Protocol):
    """A source of episodes; it travels to the worker processes."""

    @property
    def source(self) -> str:
        """Its name in a store."""

    @property
    def size(self) -> int:
        """Height and width of the frames in pixels."""

    @property
    def longest(self) -> int:
        """No episode has more frames."""

    @property
    def random_share(self) -> float:
        """Share of the frames in which agents act at random, 0 to 1."""

    @property
    def expert(self) -> str:
        """Who acts in the other frames."""

    def settings(self) -> dict[str, Any]:
        """Everything but the seed that decides what the episodes contain, JSON-able."""

    def require(self) -> None:
        """Raises an ImportError if a package is missing, better now than in a worker."""

    def record(self, split: str, agent: str, seed: list[int]) -> Episode:
        """Records the episode of this seed."""


@dataclass(frozen=True, kw_only=True)
class ProcgenRecorder:
    """A game of Procgen, played by a sticky random agent and the planner, or the policy in a file instead.

    native: keep the simulator's own 64-pixel pictures in place of its 512-pixel render, averaged down; held_keys: for
    how many frames the random agent holds an action, instead of drawing anew in a quarter of them.
    """

    game: str
    size: int
    longest: int
    random_share: float
    demonstrator: Path | None = None
    native: bool = False
    held_keys: int | None = None

    def __post_init__(self):
        check_game(self.game)
        check_size(self.size, native=self.native)
        if self.held_keys is not None:
            check_integer(self.held_keys, "held_keys", 1)

    @property
    def source(self) -> str:
        """Its name in a store."""
        return f"procgen/{self.game}"

    @property
    def expert(self) -> str:
        """Who acts where it is not the random agent."""
        return "planner" if self.demonstrator is None else "demonstrator"

    def settings(self) -> dict[str, Any]:
        """What decides the episodes."""
        expert: Any = asdict(PRESETS[self.game]) if self.demonstrator is None else self._fingerprint()
        others: dict[str, Any] = {"native": True} if self.native else {}
        others |= {} if self.held_keys is None else {"held_keys": self.held_keys}
        return {"random_share": self.random_share, "max_episode_frames": self.longest, self.expert: expert} | others

    def require(self) -> None:
        """Imports Procgen and Pillow."""
        import_simulator()
        import_pillow()

    def record(self, split: str, agent: str, seed: list[int]) -> Episode:
        """Plays one episode on a level of the split."""
        player = _player(self.game, agent, self.demonstrator, self.held_keys)
        size = None if self.native else self.size
        return record_episode(self.game, split, player, seed=seed, size=size, max_frames=self.longest)

    def _fingerprint(self) -> str:
        from flam_env.worlds.checkpoint import fingerprint
        from flam_train.players.policy import load_policy

        assert self.demonstrator is not None
        return fingerprint(load_policy(self.demonstrator, self.game))


@functools.cache
def _player(game: str, agent: str, demonstrator: Path | None, held_keys: int | None) -> Agent:
    if agent == "random":
        return RandomAgent(game) if held_keys is None else HeldKeysAgent(game, held_keys)
    if demonstrator is None:
        return Planner(game)
    import torch  # takes seconds, which workers without a policy need not wait

    from flam_train.players.policy import Demonstrator, load_policy

    torch.set_num_threads(1)  # one process per core; and sums do not depend on how many cores there are
    return Demonstrator(load_policy(demonstrator, game))


@dataclass(frozen=True, kw_only=True)
class RoomRecorder:
    """A room of random agents; its episodes are all equally long, and splits differ by their seeds."""

    room: RoomConfig
    size: int
    longest: int

    source = "multigrid"
    random_share = 1.0
    expert = "planner"

    def __post_init__(self):
        check_room_size(self.size, self.room.cells)

    def settings(self) -> dict[str, Any]:
        """What decides the episodes."""
        return {"max_episode_frames": self.longest, "room": asdict(self.room)}

    def require(self) -> None:
        """Imports gym-multigrid."""
        import_multigrid()

    def record(self, split: str, agent: str, seed: list[int]) -> Episode:
        """Records one episode of a new room."""
        assert agent == "random" and split, "rooms know random agents only"
        return record_room_episode(self.room, seed=seed, size=self.size, frames=self.longest)


@dataclass(frozen=True, kw_only=True)
class DriveRecorder:
    """Drives that are made up; all are equally long, and splits differ by their seeds."""

    size: int
    longest: int

    source = "synthetic-drive"
    random_share = 1.0
    expert = "planner"

    def __post_init__(self):
        check_picture_size(self.size)

    def settings(self) -> dict[str, Any]:
        """What decides the episodes, and what is to be known of them."""
        return {"max_episode_frames": self.longest} | SETTINGS

    def require(self) -> None:
        """Needs NumPy only."""

    def record(self, split: str, agent: str, seed: list[int]) -> Episode:
        """Records one episode on a new road."""
        assert agent == "random" and split, "drives are driven at random only"
        return record_drive(seed=seed, size=self.size, frames=self.longest)
