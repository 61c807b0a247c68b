"""Who moves what: batched functions that the environment, the vector environment and the SB3 face share.

An agent moves all slots by their latent actions, one slot, what the actions of the real game move, or a few choices.
Where it does not move all of them, something else moves the others.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol, get_args

import numpy as np
import torch
from gymnasium import Space
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from gymnasium.vector import VectorEnv
from torch import Tensor

from flam_env.dream.dream import Dream, take_rows
from flam_env.envs.actions import (
    Source,
    latent_action_space,
    own_source,
    read_actions,
    sample_actions,
    slot_action_space,
    slot_count,
)
from flam_env.models.protocol import Observed
from flam_env.validation import check_integer
from flam_env.worlds.units import BOUND
from flam_env.worlds.world import World

Others = Literal["prior", "data", "replay", "zero"]
_DRAWN_FROM: dict[Others, Source] = {"prior": "prior", "data": "bank"}
_DRAWS: dict[Source, Others] = {"prior": "prior", "bank": "data"}


class Scene(NamedTuple):
    """What a control sees of B episodes before a step.

    dream: the world on its device; frame: what its model made of the current frames there, T = 1; clips: int (B,), the
    bundled start of each episode or -1; steps: int (B,), taken in each; active: bool (B,), False where the coming step
    only begins the next episode; generators: the random stream of each.
    """

    dream: Dream
    frame: Observed
    clips: np.ndarray
    steps: np.ndarray
    active: np.ndarray
    generators: Sequence[np.random.Generator]

    @property
    def slots(self) -> Tensor:
        """Slots of the current frames, float32 (B, K, S) on the dream's device."""
        return self.frame.slots[:, 0]


class Move(NamedTuple):
    """Latent actions of all slots, float32 (B, K, A), and what the infos of the step say, by name, (B,) each."""

    actions: np.ndarray
    infos: dict[str, np.ndarray]


class Control(Protocol):
    """Turns the actions of B agents, as `read` has them, into latent actions of all slots."""

    @property
    def action_space(self) -> Space:
        """Of one agent."""

    def __call__(self, actions: np.ndarray, scene: Scene) -> Move:
        """The latent actions of all slots; draws from the generators of active episodes only."""


def find_world(env: Any, face: type, steered: bool = False) -> World:
    """The world of a FLAM environment whose actions are still the latent ones, so that a control can go around it.

    Args:
        env: an environment.
        face: the class that it must be inside, a single or a vector environment.
        steered: whether its action is that of one slot (A,) instead of all (K, A).

    Raises:
        ValueError: another kind of environment, or another wrapper has changed its actions.
    """
    vector = issubclass(face, VectorEnv)
    if vector != isinstance(env, VectorEnv):
        wanted = "a FLAM vector environment" if vector else "a FLAM environment"
        rooms = "flam_env has the wrappers of single environments, flam_env.envs.vector_wrappers those of vector ones"
        raise ValueError(f"expected {wanted}, got {env!r}; {rooms}")
    space = env.single_action_space if vector else getattr(env, "action_space", None)
    if isinstance(getattr(env, "unwrapped", None), face):
        world = env.unwrapped.world
        if space == (slot_action_space(world) if steered else latent_action_space(world)):
            return world
    wanted = "(A,) of SteerSlot" if steered else "(K, A)"
    raise ValueError(
        f"expected a FLAM environment with latent actions {wanted} in [-{BOUND:g}, {BOUND:g}], got {env} with {space}; "
        "put other wrappers of actions around this one"
    )


def read(actions: Any, space: Space, batch: tuple[int, ...] = ()) -> np.ndarray:
    """What agents gave: float32 latent actions, perhaps outside the box, or integer choices, (*batch, *space.shape).

    Args:
        actions: of one agent, or of as many as `batch` says.
        space: the action space of one agent: Box, Discrete or MultiDiscrete.
        batch: () for one agent, else (B,).

    Raises:
        ValueError: another shape or kind of numbers, a number that is not finite, or a choice that does not exist.
    """
    shape = batch + (space.shape or ())
    if isinstance(space, Box):
        return read_actions(actions, shape)
    assert isinstance(space, Discrete | MultiDiscrete), space
    given, tops = np.asarray(actions), space.nvec if isinstance(space, MultiDiscrete) else space.n
    if given.shape != shape or given.dtype.kind not in "iu" or (given < 0).any() or (given >= tops).any():
        raise ValueError(f"expected integers in [0, {np.max(tops)}) of shape {shape}, got {actions!r}")
    return given


def other_actions(others: Others | None, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """What moves the slots that nobody steers.

    Args:
        others: "prior" for actions drawn from the prior of the world; "data" for actions drawn from the bank of real
            ones; "replay" for the start clip's own inferred actions while they last, and then zero; "zero" for rest.
        scene: B episodes; where one is not active, its slots rest.

    Returns:
        Latent actions float32 (B, K, A) inside the box, and what each row got, str (B,) as objects.

    Raises:
        ValueError: another way, or a world whose actions are not continuous.
    """
    world = scene.dream.world
    others = chosen_others(others, world)
    actions = np.zeros((len(scene.steps), *check_continuous(world).shape), np.float32)
    sources = np.full(len(actions), "zero", object)
    rows = np.flatnonzero(scene.active)
    if others == "replay":
        # Action t leads from frame t to frame t + 1; the first one to be taken leads from the last context frame.
        at = scene.steps + world.settings.context - 1
        rows = np.flatnonzero(scene.active & (scene.clips >= 0) & (at < world.starts.actions.shape[1]))
        actions[rows] = world.starts.actions.numpy()[scene.clips[rows], at[rows]].clip(-BOUND, BOUND)
        sources[rows] = "replay"
    elif others != "zero" and len(rows):
        frame = None
        if others == "prior" and world.model.learns_prior:  # nothing else looks at the state
            frame = take_rows(scene.frame._replace(history=()), torch.from_numpy(rows).to(scene.dream.device))
        generators = [scene.generators[row] for row in rows]
        actions[rows] = sample_actions(scene.dream, generators, _DRAWN_FROM[others], frame)
        sources[rows] = others
    return actions, sources


def chosen_others(others: Others | None, world: World) -> Others:
    """What moves the slots that nobody steers: by default what the world itself draws from, prior or bank.

    Raises:
        ValueError: there is no such way.
    """
    if others is None:
        return _DRAWS[own_source(world)]
    if others not in get_args(Others):
        raise ValueError(f"expected others to be one of {get_args(Others)}, got {others!r}")
    return others


class SlotControl:
    """Gives each agent one slot: latent actions (A,); something else moves the others, see `other_actions`.

    Raises:
        ValueError: no such slot or way, or a world whose actions are not continuous.
    """

    def __init__(self, world: World, slot: int, others: Others | None = None):
        check_continuous(world)
        self.slot = check_integer(slot, "slot", 0, slot_count(world) - 1)
        self.others = chosen_others(others, world)
        self.action_space = slot_action_space(world)

    def __call__(self, actions: np.ndarray, scene: Scene) -> Move:
        """Latent actions (B, A) of the steered slot -> those of all slots."""
        latent_actions, sources = other_actions(self.others, scene)
        latent_actions[:, self.slot] = actions
        return Move(latent_actions, {"others": sources})


class RealActionControl:
    """Gives each agent the actions of the real game, as the world's action decoder learned them.

    Args:
        world: with an action decoder.
        others: what moves the slots that do not take the action.
        slots: which do; by default those that hold the player in each state, as the world's player finder says, or the
            world's controlled slot where it has none.

    Raises:
        ValueError: a world without an action decoder or whose actions are not continuous, no such slots or way.
    """

    def __init__(self, world: World, others: Others | None = None, slots: Sequence[int] | None = None):
        check_continuous(world)
        if world.encoder is None or world.decoder is None:
            raise ValueError(
                "expected a world with an action decoder, got one without; learn it from a few labels with "
                "`flam-train ground`, or steer latent actions with SteerSlot"
            )
        if slots is None and world.player_finder is None:
            slots = [int(world.decoder.controlled_slot)]
        self.slots = None if slots is None else _check_slots(slots, world)
        self.others = chosen_others(others, world)
        self.known = world.encoder.known.cpu().numpy()
        self.action_space = Discrete(world.encoder.config.actions)

    @torch.inference_mode()
    def __call__(self, actions: np.ndarray, scene: Scene) -> Move:
        """Real actions int (B,) -> latent actions of all slots; infos say whether the real one is known."""
        encoder: Any = scene.dream.heads["encoder"]
        latent_actions, sources = other_actions(self.others, scene)
        wanted = torch.from_numpy(actions.astype(np.int64)).to(scene.slots.device)
        asked = encoder.encode(scene.slots, wanted[:, None].expand(scene.slots.shape[:2])).cpu().numpy()
        steered = self._steered(scene)
        latent_actions[steered] = asked[steered]
        return Move(latent_actions, {"others": sources, "known_action": self.known[actions]})

    def _steered(self, scene: Scene) -> np.ndarray:
        """Which slots take the action, bool (B, K)."""
        if self.slots is None:
            finder: Any = scene.dream.heads["player_finder"]
            return finder.holds(scene.slots).cpu().numpy()
        steered = np.zeros(scene.slots.shape[:2], bool)
        steered[:, self.slots] = True
        return steered


def check_continuous(world: World) -> Box:
    """The box of a world's latent actions; raises ValueError where they are no vectors."""
    if isinstance(space := latent_action_space(world), Box):
        return space
    raise ValueError(
        f"expected a world with continuous latent actions, got one with actions {space}; take those as they are"
    )


def _check_slots(slots: Sequence[Any], world: World) -> list[int]:
    if not isinstance(slots, list | tuple | range | np.ndarray) or not len(slots):
        raise ValueError(f"expected slots to be a list of at least one slot, got {slots!r}")
    return [check_integer(slot, "slot", 0, slot_count(world) - 1) for slot in slots]
