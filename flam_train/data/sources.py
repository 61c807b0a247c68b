"""What can be collected: how each source is named in a store, what decides its episodes, and how one is recorded."""

import functools
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from flam_train.data.episode import Episode
from flam_train.data.multigrid import RoomConfig, check_room_size, import_multigrid, record_room_episode
from flam_train.data.planner import PRESETS, Planner
from flam_train.data.procgen import (
    Agent,
    RandomAgent,
    check_game,
    check_size,
    import_pillow,
    import_simulator,
    record_episode,
)

AGENTS = ("planner", "random")
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

    def settings(self) -> dict[str, Any]:
        """Everything but the seed that decides what the episodes contain, JSON-able."""

    def require(self) -> None:
        """Raises an ImportError if a package is missing, better now than in a worker."""

    def record(self, split: str, agent: str, seed: list[int]) -> Episode:
        """Records the episode of this seed."""


@dataclass(frozen=True, kw_only=True)
class ProcgenRecorder:
    """A game of Procgen, played by the planner and a sticky random agent."""

    game: str
    size: int
    longest: int
    random_share: float

    def __post_init__(self):
        check_game(self.game)
        check_size(self.size)

    @property
    def source(self) -> str:
        """Its name in a store."""
        return f"procgen/{self.game}"

    def settings(self) -> dict[str, Any]:
        """What decides the episodes."""
        return {
            "random_share": self.random_share,
            "max_episode_frames": self.longest,
            "planner": asdict(PRESETS[self.game]),
        }

    def require(self) -> None:
        """Imports Procgen and Pillow."""
        import_simulator()
        import_pillow()

    def record(self, split: str, agent: str, seed: list[int]) -> Episode:
        """Plays one episode on a level of the split."""
        player = _player(self.game, agent)
        return record_episode(self.game, split, player, seed=seed, size=self.size, max_frames=self.longest)


@functools.cache
def _player(game: str, agent: str) -> Agent:
    return Planner(game) if agent == "planner" else RandomAgent(game)


@dataclass(frozen=True, kw_only=True)
class RoomRecorder:
    """A room of random agents; its episodes are all equally long, and splits differ by their seeds."""

    room: RoomConfig
    size: int
    longest: int

    source = "multigrid"
    random_share = 1.0

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
