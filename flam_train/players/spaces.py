"""Whether demonstrations fit the spaces of a policy."""

import gymnasium as gym
import numpy as np

SUM_TOLERANCE = 1e-3  # of probabilities that were kept in half precision


def check_observations(obs: np.ndarray, space: gym.Space) -> None:
    """Raises a ValueError unless observations (P, ...) are of a Box, where images may also be channel-last."""
    if not isinstance(space, gym.spaces.Box):
        raise ValueError(f"expected a policy that observes a Box, got {space}; flatten its observations")
    if obs.shape[1:] != space.shape and not is_channel_last(obs, space):
        raise ValueError(
            f"expected observations of shape {('P', *space.shape)}, which the policy sees, got {obs.shape}; "
            "make the policy for these observations, or resize them"
        )
    if not np.can_cast(obs.dtype, space.dtype, "same_kind"):
        raise ValueError(f"expected observations that are {space.dtype}, got {obs.dtype}; convert them and their range")


def is_channel_last(obs: np.ndarray, space: gym.Space) -> bool:
    """Whether observations are images (P, H, W, C) while the space has (C, H, W)."""
    shape = space.shape or ()
    return len(shape) == 3 and obs.shape[1:] == (*shape[1:], shape[0]) != shape


def is_soft(acts: np.ndarray, space: gym.Space) -> bool:
    """Whether labels are probabilities over the actions rather than actions."""
    return isinstance(space, gym.spaces.Discrete) and acts.ndim == 2 and acts.dtype.kind == "f"


def check_actions(acts: np.ndarray, space: gym.Space) -> None:
    """Raises a ValueError unless labels are actions of the space, or probabilities over them.

    The space may be Discrete, MultiDiscrete, MultiBinary or Box.
    """
    if is_soft(acts, space):
        return _check_probabilities(acts, int(space.n))  # type: ignore[attr-defined]
    kinds, low, high = _bounds(space)
    shape = space.shape or ()
    if acts.shape[1:] != shape or acts.dtype.kind not in kinds:
        wanted = "numbers" if "f" in kinds else "integers"
        soft = f", or probabilities (P, {space.n})" if isinstance(space, gym.spaces.Discrete) else ""
        raise ValueError(
            f"expected labels that are {wanted} of shape {('P', *shape)}{soft}, got {acts.dtype} {acts.shape}; "
            f"give actions of {space}"
        )
    outside = ~((acts >= low) & (acts <= high)).reshape(len(acts), -1).all(axis=1)
    if outside.any():
        raise ValueError(
            f"expected labels inside {space}, got {acts[outside][0]} in pair {outside.argmax()}; drop or correct them"
        )


def _bounds(space: gym.Space) -> tuple[str, np.ndarray | int, np.ndarray | int]:
    """Kinds of dtype, lowest and highest action of a space."""
    if isinstance(space, gym.spaces.Discrete):
        return "iu", 0, int(space.n) - 1
    if isinstance(space, gym.spaces.MultiDiscrete):
        return "iu", 0, space.nvec - 1
    if isinstance(space, gym.spaces.MultiBinary):
        return "iub", 0, 1
    if isinstance(space, gym.spaces.Box):
        return "iuf", space.low, space.high
    raise ValueError(f"expected a Discrete, MultiDiscrete, MultiBinary or Box action space, got {space}; use one")


def _check_probabilities(acts: np.ndarray, number: int) -> None:
    if acts.shape[1] != number:
        raise ValueError(
            f"expected probabilities over {number} actions, got {acts.shape[1]} columns; give one for each action"
        )
    sums = acts.sum(axis=1, dtype=np.float64)
    wrong = ~((acts >= 0).all(axis=1) & (np.abs(sums - 1) <= SUM_TOLERANCE))
    if wrong.any():
        advice = "leave out pairs that nobody labelled" if np.isnan(sums[wrong][0]) else "apply a softmax to scores"
        raise ValueError(
            f"expected probabilities that are not negative and sum to 1, got a row with sum {sums[wrong][0]:.6g} and "
            f"minimum {acts[wrong][0].min():.6g} in pair {wrong.argmax()}; {advice}"
        )
