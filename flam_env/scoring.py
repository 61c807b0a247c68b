"""Rewards and ends of episodes: a learned world has none of its own, so users bring functions.

A function is given as a callable or, so that `EnvSpec` stays JSON, as "module:function".
"""

import importlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np

RewardFunction = Callable[[np.ndarray, np.ndarray, np.ndarray], float]
"""(frame before uint8 (H, W, 3), latent action float32 (K, A) as taken, frame after) -> finite reward."""
TerminationFunction = Callable[[np.ndarray, int], bool]
"""(frame after the step uint8 (H, W, 3), steps taken in this episode, from 1) -> whether the episode has ended."""


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


def reward_of(function: RewardFunction | None, before: np.ndarray, action: np.ndarray, after: np.ndarray) -> float:
    """The reward of one step; 0.0 without a function.

    Raises:
        ValueError: the function returned no finite number.
    """
    return 0.0 if function is None else _finite(function(before, action, after))


def has_ended(function: TerminationFunction | None, frame: np.ndarray, step: int) -> bool:
    """Whether an episode has ended; False without a function.

    Raises:
        ValueError: the function returned no bool.
    """
    if function is None:
        return False
    value = function(frame, step)
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"expected termination_fn to return a bool, got {value!r}; wrap it in bool(...)")
    return bool(value)


def _finite(value: Any) -> float:
    expected = "expected reward_fn to return a finite number"
    try:
        reward = float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{expected}, got {value!r}") from error
    if not math.isfinite(reward):
        raise ValueError(f"{expected}, got {reward}")
    return reward
