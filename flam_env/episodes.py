"""A batch of episodes in one dream: all that the environment and the vector environment have in common."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box

from flam_env.acting import latent_action_space, sample_actions
from flam_env.dream import Dream, pixel_masks, replace_rows
from flam_env.scoring import find_function, has_ended, reward_of
from flam_env.starting import Start, choose_start
from flam_env.units import clip_to_box
from flam_env.validation import check_integer
from flam_env.world import World, load_world

Others = Literal["replay", "data", "zero"]


class Outcome(NamedTuple):
    """What a step brought, for every row: rewards float64 (B,), terminated and truncated bool (B,)."""

    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray


class Episodes:
    """`count` episodes that run side by side, each with its own start, length and random stream.

    Attributes:
        frames: uint8 (B, H, W, 3), the current frames; never written to again, so views of it stay valid.
        steps: int (B,), steps taken in each episode.
        start_index: int (B,), the bundled start of each episode, -1 for frames of one's own.
        clipped: bool (B,), whether the last action lay outside the box.
    """

    def __init__(
        self,
        count: int,
        world: World,
        device: str = "cpu",
        horizon: int | None = None,
        reward_fn: Any = None,
        termination_fn: Any = None,
    ):
        self.horizon = world.settings.horizon if horizon is None else check_integer(horizon, "horizon", 1)
        self.count, self.world = count, world
        self.dream = Dream(world, device)
        self.reward_fn = find_function(reward_fn, "reward_fn")
        self.termination_fn = find_function(termination_fn, "termination_fn")
        size = world.tokenizer.config.image_size
        self.action_space = latent_action_space(world)
        self.observation_space = Box(0, 255, (size, size, 3), np.uint8)
        self.frames = np.zeros((count, size, size, 3), np.uint8)
        self.steps, self.start_index = np.zeros(count, int), np.full(count, -1)
        self.clipped, self._begun = np.zeros(count, bool), np.zeros(count, bool)
        self.replays: list[np.ndarray] = [world.starts.bank[:0].numpy()] * count
        self._state = self.dream.reset(torch.zeros(count, 1, world.model.patches, dtype=torch.long))

    def begin(self, rows: Sequence[int], generators: Sequence[np.random.Generator], wanted: Sequence[Any]) -> None:
        """Starts new episodes in these rows, each where `choose_start` says; the other rows are left as they are."""
        if not len(rows):
            return
        starts = [choose_start(self.dream, *each) for each in zip(wanted, generators, strict=True)]
        by_length: dict[int, list[int]] = {}
        for i, start in enumerate(starts):
            by_length.setdefault(len(start.context), []).append(i)
        self.frames = self.frames.copy()
        for members in by_length.values():
            self._begin_together([rows[i] for i in members], [starts[i] for i in members])

    def _begin_together(self, rows: list[int], starts: list[Start]) -> None:
        fresh = self.dream.reset(torch.stack([start.context for start in starts]))
        self._state = replace_rows(self._state, rows, fresh)
        self.frames[rows] = self.dream.frame(fresh).cpu().numpy()
        self.steps[rows], self.clipped[rows], self._begun[rows] = 0, False, True
        self.start_index[rows] = [start.clip for start in starts]
        for row, start in zip(rows, starts, strict=True):
            self.replays[row] = start.replay

    def advance(self, actions: np.ndarray, active: np.ndarray | None = None) -> Outcome:
        """Takes one step.

        Args:
            actions: float32 (B, K, A) from `read_actions`; what lies outside the box is clipped, and `clipped` says so.
            active: bool (B,), rows whose step counts; the others are about to begin anew. Default: all.

        Raises:
            ValueError: a reward or end that is none.
            ResetNeeded: an episode has not begun.
        """
        self.expect_begun()
        active = np.ones(self.count, bool) if active is None else active
        actions, before = actions.reshape(self.count, *self.world.action_shape), self.frames
        taken = clip_to_box(torch.from_numpy(actions)).numpy()
        self.clipped = (actions != taken).reshape(self.count, -1).any(1) & active
        if active.any():
            self._state, frames = self.dream.step(self._state, torch.from_numpy(taken))
            self.frames = np.ascontiguousarray(frames.cpu().numpy())
        self.steps += active
        return self._judge(before, taken, active)

    def _judge(self, before: np.ndarray, taken: np.ndarray, active: np.ndarray) -> Outcome:
        rewards, terminated = np.zeros(self.count), np.zeros(self.count, bool)
        for row in np.flatnonzero(active):
            rewards[row] = reward_of(self.reward_fn, before[row], taken[row], self.frames[row])
            terminated[row] = has_ended(self.termination_fn, self.frames[row], int(self.steps[row]))
        return Outcome(rewards, terminated, (self.steps >= self.horizon) & active)

    def expect_begun(self) -> None:
        """Raises ResetNeeded unless all episodes have begun."""
        if not self._begun.all():
            raise ResetNeeded("expected running episodes, got some that have not begun; call reset() first")

    @property
    def refused(self) -> np.ndarray:
        """Whether the last action of some slot was refused, bool (B,); see `flam_env.laws`."""
        return self._state.refused.any(-1).cpu().numpy()

    def slot_values(self) -> np.ndarray:
        """The slots of the current frames, float32 (B, K, S).

        Raises:
            ResetNeeded: an episode has not begun.
        """
        self.expect_begun()
        return self._state.slots.cpu().numpy()

    def slot_masks(self) -> np.ndarray:
        """How much of every pixel belongs to each slot: float32 (B, K, H, W).

        It sums to 1 over slots, or to less where the world has a background sink that took the rest.

        Raises:
            ResetNeeded: an episode has not begun.
        """
        self.expect_begun()
        return pixel_masks(self._state.masks, self.world.tokenizer.config.image_size).cpu().numpy()

    def other_actions(self, others: Others, generators: Sequence[np.random.Generator]) -> tuple[np.ndarray, list[str]]:
        """What moves the slots that nobody steers, at the current step.

        Args:
            others: "replay" for the start clip's own inferred actions while they last, and then zero; "data" for
                actions drawn from the bank; "zero" for rest.
            generators: one for each row.

        Returns:
            Latent actions float32 (B, K, A) inside the box, and what each row got: "replay", "data" or "zero".

        Raises:
            ValueError: another way.
        """
        if check_others(others) == "data":
            return sample_actions(self.world, generators), ["data"] * self.count
        actions = self.world.starts.bank.new_zeros(self.count, *self.world.action_shape).numpy()
        sources = ["zero"] * self.count
        for row, (replay, step) in enumerate(zip(self.replays, self.steps, strict=True)):
            if others == "replay" and step < len(replay):
                actions[row], sources[row] = clip_to_box(torch.from_numpy(replay[step])), "replay"
        return actions, sources


def check_others(others: Others) -> Others:
    """What was given, if it is a way to move the slots that nobody steers.

    Raises:
        ValueError: it is none.
    """
    if others not in get_args(Others):
        raise ValueError(f"expected others to be one of {get_args(Others)}, got {others!r}")
    return others


def find_live_world(checkpoint: Any, world: World | None) -> World:
    """The world of an environment, from one of two arguments.

    Raises:
        ValueError: both or neither are given, or the world is none.
    """
    if (checkpoint is None) == (world is None):
        raise ValueError(
            "expected either checkpoint= (the name of a bundled world or a directory) or world= (a live World), "
            f"got checkpoint={checkpoint!r} and {'no' if world is None else 'a'} world"
        )
    if world is None:
        return load_world(checkpoint)
    if not isinstance(world, World):
        raise ValueError(f"expected world= to be a live World, got {world!r}; give its name or path as checkpoint=")
    return world
