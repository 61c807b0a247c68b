"""Rewards and ends of episodes: a learned world has none of its own, so they come from a judge.

A judge is one batched function. `FunctionJudge` makes one of the functions that users bring, which are given as
callables or, so that `EnvSpec` stays JSON, as "module:function".
"""

import importlib
import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from flam_env.dream.dream import DreamState

RewardFunction = Callable[[np.ndarray, np.ndarray, np.ndarray], float]
"""(frame before uint8 (H, W, 3), latent action float32 (K, A) as taken, frame after) -> finite reward."""
TerminationFunction = Callable[[np.ndarray, int], bool]
"""(frame after the step uint8 (H, W, 3), steps taken in this episode, from 1) -> whether the episode has ended."""


class Moment(NamedTuple):
    """B episodes before or after a step: the frames that are seen, uint8 (B, H, W, 3), and the state behind them."""

    frames: np.ndarray
    state: DreamState


class Verdict(NamedTuple):
    """What a step is worth in each episode, float64 (B,), and whether it ended there, bool (B,)."""

    rewards: np.ndarray
    ended: np.ndarray


class Judge(Protocol):
    """Tells rewards and ends of a batch of episodes."""

    def __call__(self, before: Moment, actions: np.ndarray, after: Moment, steps: np.ndarray) -> Verdict:
        """Judges one step of B episodes.

        Args:
            before: where the step began; not to be changed, like all that is given here.
            actions: latent actions as they were taken, float32 (B, K, A) inside the box.
            after: where it led.
            steps: int (B,), steps taken in each episode, from 1; 0 where none was taken, and the verdict on such a
                row counts for nothing.
        """


class FunctionJudge:
    """A judge of functions about single frames, called for one episode after the other.

    Args:
        reward_fn: a `RewardFunction` or "module:function"; without one every reward is 0.0.
        termination_fn: a `TerminationFunction` or "module:function"; without one no episode ends.

    Raises:
        ValueError: an argument is no function and names none.
    """

    def __init__(self, reward_fn: str | RewardFunction | None, termination_fn: str | TerminationFunction | None):
        self.reward_fn = find_function(reward_fn, "reward_fn")
        self.termination_fn = find_function(termination_fn, "termination_fn")

    def __call__(self, before: Moment, actions: np.ndarray, after: Moment, steps: np.ndarray) -> Verdict:
        """Judges one step of B episodes, see `Judge`.

        Raises:
            ValueError: a reward that is no finite number, or an end that is no bool.
        """
        rewards, ended = np.zeros(len(steps)), np.zeros(len(steps), bool)
        rows = np.flatnonzero(steps)
        if self.reward_fn is not None:
            for row in rows:
                rewards[row] = _finite(self.reward_fn(before.frames[row], actions[row], after.frames[row]))
        if self.termination_fn is not None:
            for row in rows:
                ended[row] = _truth(self.termination_fn(after.frames[row], int(steps[row])))
        return Verdict(rewards, ended)


def find_function(given: str | Callable | None, argument: str) -> Callable | None:
    """The function that an argument names.

    Raises:
        ValueError: the argument is no function and names none.
    """
    if given is None or callable(given):
        return given
    expected = f"expected {argument} to be a callable or 'module:function'"
    if not isinstance(given, str) or given.count(":") != 1 or given[0] in ":.":
        raise ValueError(f"{expected}, got {given!r}")
    module_name, name = given.split(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ValueError(f"{expected}, got {given!r} ({error}); is it on the Python path?") from error
    if not callable(function := getattr(module, name, None)):
        raise ValueError(f"{expected}, got {given!r}; the module {module_name} has no function {name}")
    return function


def _finite(value: Any) -> float:
    expected = "expected reward_fn to return a finite number"
    try:
        reward = float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{expected}, got {value!r}") from error
    if not math.isfinite(reward):
        raise ValueError(f"{expected}, got {reward}")
    return reward


def _truth(value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"expected termination_fn to return a bool, got {value!r}; wrap it in bool(...)")
    return bool(value)
