"""A batch of episodes in one dream: all that the environment and the vector environment have in common."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box

from flam_env.dream.dream import Dream, pixel_masks, replace_rows
from flam_env.envs.actions import Source, latent_action_space, sample_actions
from flam_env.envs.controls import Scene
from flam_env.envs.judge import Judge, Moment
from flam_env.envs.starts import Start, choose_start
from flam_env.validation import check_integer
from flam_env.worlds.loading import load_world
from flam_env.worlds.units import clip_to_box
from flam_env.worlds.world import World


class Outcome(NamedTuple):
    """What a step brought, for every row: rewards float64 (B,), terminated and truncated bool (B,)."""

    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray


class Episodes:
    """`count` episodes that run side by side, each with its own start, length and random stream.

    Args:
        count: B, how many.
        world: where they run; it is shared and never changed.
        judge: tells rewards and ends.
        device: where the networks run.
        horizon: steps after which an episode is truncated; default: the world's own.
        draws: whether what follows a step is drawn; default: where the world can.

    Attributes:
        dream: the world on its device.
        frames: uint8 (B, H, W, 3), the current frames; never written to again, so views of it stay valid.
        steps: int (B,), steps taken in each episode.
        start_index: int (B,), the bundled start of each episode, -1 for frames of one's own.
        clipped: bool (B,), whether the last action lay outside the box.
    """

    def __init__(
        self,
        count: int,
        world: World,
        judge: Judge,
        device: str = "auto",
        horizon: int | None = None,
        draws: bool | None = None,
    ):
        self.horizon = world.settings.horizon if horizon is None else check_integer(horizon, "horizon", 1)
        self.count, self.world, self.judge = count, world, judge
        self.dream = Dream(world, device)
        self.draws = read_draws(draws, world)
        size = world.tokenizer.config.image_size
        self.action_space = latent_action_space(world)
        self.observation_space = Box(0, 255, (size, size, 3), np.uint8)
        self.frames = np.zeros((count, size, size, 3), np.uint8)
        self.steps, self.start_index = np.zeros(count, int), np.full(count, -1)
        self.clipped, self._begun = np.zeros(count, bool), np.zeros(count, bool)
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

    def advance(
        self,
        actions: np.ndarray,
        generators: Sequence[np.random.Generator],
        active: np.ndarray | None = None,
    ) -> Outcome:
        """Takes one step.

        Args:
            generators: the random stream of each episode, from which what follows is drawn; not of the rows that are
                not active.
            actions: as `flam_env.envs.controls.read` has them for the space of a batch; what lies outside the box is
                clipped, and `clipped` says so.
            active: bool (B,), rows whose step counts; the others are about to begin anew. Default: all.

        Raises:
            ValueError: a reward or end that is none.
            ResetNeeded: an episode has not begun.
        """
        self.expect_begun()
        active = np.ones(self.count, bool) if active is None else active
        actions = actions.reshape(self.count, *self.world.action_shape)
        taken, before = clip_to_box(torch.from_numpy(actions)), Moment(self.frames, self._state)
        self.clipped = (actions != taken.numpy()).reshape(self.count, -1).any(1) & active
        if active.any():
            self._state, frames = self.dream.step(self._state, taken, self._chance(generators, active))
            self.frames = frames.contiguous().cpu().numpy()
        self.steps += active
        verdict = self.judge(before, taken.numpy(), Moment(self.frames, self._state), self.steps * active)
        rewards = np.where(active, verdict.rewards, 0.0)
        return Outcome(rewards, verdict.ended & active, (self.steps >= self.horizon) & active)

    def _chance(self, generators: Sequence[np.random.Generator], active: np.ndarray) -> torch.Tensor | None:
        """What decides by chance what follows, (B, `Dream.chance`); None where nothing does."""
        if not self.draws:
            return None
        drawn = np.zeros((self.count, self.dream.chance), np.float32)
        for row in np.flatnonzero(active):
            drawn[row] = generators[row].random(self.dream.chance, np.float32)
        return torch.from_numpy(drawn)

    def scene(self, generators: Sequence[np.random.Generator], active: np.ndarray | None = None) -> Scene:
        """What a control sees.

        Args:
            generators: the random stream of each episode.
            active: bool (B,), as for `advance`.

        Raises:
            ResetNeeded: an episode has not begun.
        """
        self.expect_begun()
        active = np.ones(self.count, bool) if active is None else active
        return Scene(self.dream, self._state.frame, self.start_index, self.steps, active, generators)

    def sample_actions(self, generators: Sequence[np.random.Generator], source: Source | None) -> np.ndarray:
        """Latent actions of every row, (B, K, A) inside the box, or codes; see `flam_env.envs.actions`.

        Raises:
            ValueError: another source, or the bank of the world is empty.
            ResetNeeded: an episode has not begun, in a world that learned what is likely in a state.
        """
        if self.world.model.learns_prior:
            self.expect_begun()
        return sample_actions(self.dream, generators, source, self._state.frame)

    def expect_begun(self) -> None:
        """Raises ResetNeeded unless all episodes have begun."""
        if not self._begun.all():
            raise ResetNeeded("expected running episodes, got some that have not begun; call reset() first")

    @property
    def refused(self) -> np.ndarray:
        """Whether the last action of some slot was refused, bool (B,); see `flam_env.worlds.laws`."""
        if not self.world.laws.permanence:
            return np.zeros(self.count, bool)
        return self._state.refused.any(-1).cpu().numpy()

    @property
    def off_road(self) -> np.ndarray | None:
        """How far each dream is off the road, float32 (B,) in [0, 1]; None in a world that cannot tell."""
        left = self.dream.off_road(self._state)
        return None if left is None else left.cpu().numpy()

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


def read_draws(draws: bool | None, world: World) -> bool:
    """Whether what follows a step is drawn, as asked for or, by default, where the world can.

    Raises:
        ValueError: it is to be drawn in a world without a token sampler, or the answer is neither.
    """
    can = "token_sampler" in world.heads
    if draws is None:
        return can
    if not isinstance(draws, bool):
        raise ValueError(f"expected draw_tokens to be True, False or None, got {draws!r}")
    if draws and not can:
        raise ValueError(
            "expected a world with a token sampler for draw_tokens=True, got one without; learn one with `flam-train "
            "token-sampler`, or leave draw_tokens out"
        )
    return draws


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
