"""How the car moved from each image to the next, in its own frame."""

import numpy as np

NAMES = ("forward", "left", "turn")
"""Metres, metres, and radians to the left."""


def ego_motion(poses: np.ndarray, cuts: tuple[int, ...]) -> np.ndarray:
    """Poses float64 (T, 7) -> float32 (T, 3): row t leads from image t to the next, as the car at image t sees it.

    Args:
        poses: metres and a quaternion, as `database.POSE` has it; NaN where nobody knows.
        cuts: images before which nobody knows how the car came there.

    Returns:
        `NAMES`; NaN where nobody knows, as in the last row.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # numbers that no car has become unknown
        places, turns = poses[:, :3], _unit(poses[:, 3:])
        back = turns[:-1] * (1, -1, -1, -1)  # the conjugate turns the map's frame into the car's
        way = np.concatenate([np.zeros((len(back), 1)), np.diff(places, axis=0)], axis=1)
        motion = np.full((len(poses), len(NAMES)), np.nan, np.float32)
        motion[:-1, :2] = _times(_times(back, way), turns[:-1])[:, 1:3]
        motion[:-1, 2] = _yaw(_times(back, turns[1:]))
    motion[[cut - 1 for cut in cuts]] = np.nan
    motion[~np.isfinite(motion).all(1)] = np.nan
    return motion


def _unit(quaternions: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(quaternions, axis=1, keepdims=True)
    return quaternions / np.where(length > 0, length, np.nan)


def _times(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Products of quaternions (T, 4), the real part first."""
    a, b = one[:, :1], other[:, :1]
    v, w = one[:, 1:], other[:, 1:]
    return np.concatenate([a * b - (v * w).sum(1, keepdims=True), a * w + b * v + np.cross(v, w)], axis=1)


def _yaw(quaternions: np.ndarray) -> np.ndarray:
    """Radians (T,), -pi to pi, about the axis that points up."""
    w, x, y, z = quaternions.T
    return np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
