"""A walled room in which agents turn and walk at random: gym-multigrid's grid, agents and pictures, seeds that hold.

Cells are (x, y) from the upper left, walls at 0 and at cells - 1; directions are 0 right, 1 down, 2 left, 3 up.
gym-multigrid is imported in this file only, lazily; of its environment class nothing is used, because that ignores its
seed, encodes the whole grid once for each agent, and ends the process where matplotlib is missing.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal, get_args

import numpy as np

from flam_train.store.episode import Episode

STILL, LEFT, RIGHT, FORWARD = range(4)
"""What an agent can do; left and right turn on the spot."""

Colours = Literal["distinct", "same", "per-episode"]
PALETTE = {
    "red": (228, 3, 3),
    "green": (0, 150, 50),
    "blue": (0, 77, 255),
    "yellow": (255, 237, 0),
    "purple": (130, 20, 160),
    "orange": (255, 130, 0),
    "cyan": (0, 225, 235),
    "pink": (255, 150, 200),
    "white": (255, 255, 255),
    "brown": (140, 80, 20),
    "lime": (140, 255, 80),
    "teal": (0, 140, 150),
    "olive": (150, 160, 0),
    "lavender": (165, 140, 255),
    "magenta": (255, 0, 190),
    "navy": (20, 20, 140),
}
"""RGB of the agents; the floor is black, walls and lines are grey."""

SMALLEST_CELL = 4
"""Pixels of a cell from which on an agent's direction can be seen."""


@dataclass(frozen=True, kw_only=True)
class RoomConfig:
    """What decides who is in the room.

    Attributes:
        agents: 2 to 16 agents.
        tied: agents, counted from 0, that always take the same action: `--tied 0,1`.
        colours: agent i has a colour of its own, all share one colour, or colours are drawn anew for each episode.
        cells: height and width of the room in cells, walls included.
    """

    agents: int = 4
    tied: tuple[int, ...] = ()
    colours: Colours = "distinct"
    cells: int = 8

    def __post_init__(self):
        if not 2 <= self.agents <= len(PALETTE):
            raise ValueError(f"expected 2 to {len(PALETTE)} agents, got {self.agents}; change --agents")
        free = max(self.cells - 2, 0) ** 2
        if self.agents > free:
            raise ValueError(
                f"expected at most {free} agents, one for each free cell of {self.cells} x {self.cells}, "
                f"got {self.agents}; change --agents or --cells"
            )
        known = set(self.tied) <= set(range(self.agents))
        if self.tied and not (known and len(self.tied) == len(set(self.tied)) >= 2):
            raise ValueError(
                f"expected none or at least two different agents of 0 to {self.agents - 1} that are tied, "
                f"got {self.tied}; change --tied"
            )
        if self.colours not in get_args(Colours):
            raise ValueError(f"expected colours out of {', '.join(get_args(Colours))}, got {self.colours!r}")


def check_room_size(size: int, cells: int) -> int:
    """Returns a frame size in pixels, or raises a ValueError that says which sizes a room of these cells can have."""
    if size < SMALLEST_CELL * cells or size % cells:
        raise ValueError(
            f"expected a multiple of {cells} cells as size, at least {SMALLEST_CELL} pixels per cell, got {size}; "
            f"use e.g. {8 * cells}"
        )
    return size


def import_multigrid() -> Any:
    """The parts of gym-multigrid that a room is made of: Agent, Grid and World.

    Raises:
        ImportError: the package is missing; the message names the remedy.
    """
    try:
        from gym_multigrid.core.agent import Agent
        from gym_multigrid.core.grid import Grid
        from gym_multigrid.core.world import World
    except ImportError as error:
        raise ImportError(
            f"gym-multigrid is not installed ({error}); it needs numpy 1, and so Python 3.11 or 3.12: "
            "pip install 'flam-env[multigrid]'"
        ) from error
    return SimpleNamespace(Agent=Agent, Grid=Grid, World=World)


class Room:
    """One episode in the room.

    Args:
        config: who is in the room.
        seed: decides places, directions, colours and, at each step, the order of the agents.
        size: frame size in pixels.

    Attributes:
        colours: name in PALETTE of each agent's colour.

    Raises:
        ValueError: the size does not fit the cells.
        ImportError: gym-multigrid is missing.
    """

    def __init__(self, config: RoomConfig, *, seed: int, size: int):
        self._pixels = check_room_size(size, config.cells) // config.cells
        self._rng, paint = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(2))
        self.colours = _choose_colours(config, paint)
        self._background = _empty_room(config.cells, self._pixels)
        self._grid = _walled_grid(config.cells)
        places = self._rng.permutation((config.cells - 2) ** 2)[: config.agents]
        directions = self._rng.integers(4, size=config.agents).tolist()
        self._agents = [_agent(colour, direction) for colour, direction in zip(self.colours, directions, strict=True)]
        for agent, place in zip(self._agents, places, strict=True):
            agent.pos = np.array(divmod(place, config.cells - 2)) + 1
            self._grid.set(*agent.pos, agent)

    @property
    def positions(self) -> np.ndarray:
        """Cell (x, y) of each agent, int16 (agents, 2), from 1 to cells - 2."""
        return np.array([agent.pos for agent in self._agents], dtype=np.int16)

    @property
    def directions(self) -> np.ndarray:
        """Where each agent looks, int8 (agents,): 0 right, 1 down, 2 left, 3 up."""
        return np.array([agent.dir for agent in self._agents], dtype=np.int8)

    def frame(self) -> np.ndarray:
        """The picture of this moment, uint8 (size, size, 3)."""
        picture, side = self._background.copy(), self._pixels
        for agent in self._agents:
            x, y = agent.pos * side
            picture[y : y + side, x : x + side] = _agent_picture(agent.color, agent.dir, side)
        return picture

    def step(self, actions: Sequence[int] | np.ndarray) -> None:
        """Lets every agent act once, in random order; who walks into a wall or another agent stays where it is.

        Raises:
            ValueError: not one action from 0 to 3 for each agent.
        """
        wanted = [int(action) for action in actions]
        if len(wanted) != len(self._agents) or not set(wanted) <= set(range(4)):
            raise ValueError(f"expected {len(self._agents)} actions of 0 to 3, got {wanted}; give one for each agent")
        for index in self._rng.permutation(len(wanted)):
            agent, action = self._agents[index], wanted[index]
            if action in (LEFT, RIGHT):
                agent.dir = (agent.dir + (1 if action == RIGHT else -1)) % 4
            elif action == FORWARD and self._grid.get(*agent.front_pos) is None:
                self._grid.set(*agent.pos, None)
                agent.pos = agent.front_pos
                self._grid.set(*agent.pos, agent)


def record_room_episode(config: RoomConfig, *, seed: list[int], size: int, frames: int) -> Episode:
    """Records agents that act at random: at each step each of the four actions is equally likely for each agent.

    Args:
        config: who is in the room.
        seed: non-negative integers that decide everything.
        size: height and width of the frames in pixels.
        frames: length of the episode.

    Returns:
        An episode with actions (T, agents) and the truth of each frame: "positions" int16 (T, agents, 2) and
        "directions" int8 (T, agents). `Room(config, seed=episode.level_seed, size=size)` with these actions shows it
        again. Colours change no motion, ties no action of other agents.
    """
    start, choices = np.random.SeedSequence(seed).spawn(2)
    level_seed = int(start.generate_state(1, np.uint64)[0]) >> 1
    room = Room(config, seed=level_seed, size=size)
    actions = np.random.default_rng(choices).integers(4, size=(frames, config.agents), dtype=np.int16)
    actions[:, config.tied] = actions[:, config.tied[:1]]
    pictures = np.empty((frames, size, size, 3), np.uint8)
    positions = np.empty((frames, config.agents, 2), np.int16)
    directions = np.empty((frames, config.agents), np.int8)
    for time in range(frames):
        pictures[time], positions[time], directions[time] = room.frame(), room.positions, room.directions
        room.step(actions[time])
    return Episode(
        frames=pictures,
        actions=actions,
        rewards=np.zeros(frames, np.float32),
        level_seed=level_seed,
        agent="random",
        terminated=False,
        truth={"positions": positions, "directions": directions},
    )


def _choose_colours(config: RoomConfig, rng: np.random.Generator) -> tuple[str, ...]:
    names = list(PALETTE)
    if config.colours == "same":
        return (names[0],) * config.agents
    if config.colours == "per-episode":
        names = rng.permutation(names).tolist()
    return tuple(names[: config.agents])


def cell_pictures(colours: Sequence[str], pixels: int) -> np.ndarray:
    """All that a cell inside the walls can look like, uint8 (1 + 4 * colours, pixels, pixels, 3).

    First the empty cell, then 1 + 4 * i + d: an agent in the colour i that looks in direction d.
    """
    empty = _empty_room(3, pixels)[pixels : 2 * pixels, pixels : 2 * pixels]
    agents = [_agent_picture(colour, direction, pixels) for colour in colours for direction in range(4)]
    return np.stack([empty, *agents])


@functools.cache
def _world() -> Any:
    objects = {"empty": 0, "wall": 1, "agent": 2}
    colours = {**PALETTE, "grey": (100, 100, 100)}
    return import_multigrid().World(encode_dim=3, normalize_obs=1, OBJECT_TO_IDX=objects, COLORS=colours)


def _walled_grid(cells: int) -> Any:
    grid = import_multigrid().Grid(cells, cells, _world())
    grid.wall_rect(0, 0, cells, cells)
    return grid


def _agent(colour: str, direction: int) -> Any:
    agent = import_multigrid().Agent(_world(), color=colour)
    agent.dir = direction
    return agent


@functools.cache
def _empty_room(cells: int, pixels: int) -> np.ndarray:
    """Walls, floor and lines, uint8 (cells * pixels, cells * pixels, 3)."""
    grid = _walled_grid(cells)
    grid.tile_cache.clear()  # shared by all worlds, and its keys do not tell them apart
    return grid.render(pixels)


@functools.cache
def _agent_picture(colour: str, direction: int, pixels: int) -> np.ndarray:
    """One cell with an agent in it, uint8 (pixels, pixels, 3)."""
    grid = import_multigrid().Grid
    grid.tile_cache.clear()  # shared by all worlds, and its keys do not tell them apart
    return grid.render_tile(_world(), _agent(colour, direction), tile_size=pixels).astype(np.uint8)
