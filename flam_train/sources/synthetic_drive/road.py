"""A road of three lanes that bends now left, now right, and what stands beside it.

Places on it are (s, d): metres along the middle, and metres to the left of it. Angles are radians to the left.
"""

from typing import NamedTuple

import numpy as np

LANES = (-3.5, 0.0, 3.5)
"""d of the middle of each lane, from right to left."""
HALF_WIDTH = 5.6
"""From the middle of the road to its edges, in metres."""

SHARPEST = 1 / 45  # curvature: one over the radius of a bend
BEND = 45.0  # metres from one random curvature to the next
POST_EVERY, TREE_EVERY = 15.0, 11.0  # metres; of trees on average


class Beside(NamedTuple):
    """What stands beside a road, in the order of s: s, d and height in metres, whether it is a tree, and a shade."""

    s: np.ndarray
    d: np.ndarray
    height: np.ndarray
    tree: np.ndarray
    shade: np.ndarray


class Road:
    """The middle of a road, a point for each metre.

    Args:
        length: in metres.
        random: decides its bends and what stands beside it.

    Attributes:
        s, x, y, heading, curvature: float64 (metres,).
        beside: what stands there.
    """

    def __init__(self, length: float, random: np.random.Generator):
        self.s = np.arange(int(length) + 1, dtype=float)
        knots = np.arange(0, length + 2 * BEND, BEND)
        bends = np.interp(self.s, knots, random.uniform(-SHARPEST, SHARPEST, len(knots)))
        self.curvature = np.convolve(np.pad(bends, 10, "edge"), np.full(21, 1 / 21), "valid")
        self.heading = np.concatenate([[0.0], self.curvature[:-1].cumsum()])
        self.x = np.concatenate([[0.0], np.cos(self.heading[:-1]).cumsum()])
        self.y = np.concatenate([[0.0], np.sin(self.heading[:-1]).cumsum()])
        self.beside = _beside(length, random)

    def places(self, s: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where places (P,) on the road are: x and y."""
        heading = np.interp(s, self.s, self.heading)
        x, y = np.interp(s, self.s, self.x), np.interp(s, self.s, self.y)
        return x - d * np.sin(heading), y + d * np.cos(heading)

    def at(self, s: float) -> tuple[float, float]:
        """Heading and curvature of the road there."""
        return float(np.interp(s, self.s, self.heading)), float(np.interp(s, self.s, self.curvature))


def _beside(length: float, random: np.random.Generator) -> Beside:
    posts = np.repeat(np.arange(0, length, POST_EVERY), 2)
    sides = np.tile([-1.0, 1.0], len(posts) // 2)
    count = int(2 * length / TREE_EVERY)
    trees = random.uniform(0, length, count)
    away = random.choice([-1.0, 1.0], count) * (HALF_WIDTH + random.uniform(3, 12, count))
    s, d = np.concatenate([posts, trees]), np.concatenate([sides * (HALF_WIDTH + 0.7), away])
    height = np.concatenate([np.full(len(posts), 1.0), random.uniform(3, 6, count)])
    tree = np.arange(len(s)) >= len(posts)
    shade = np.concatenate([np.ones(len(posts)), random.uniform(0.7, 1.1, count)])
    order = np.argsort(s, kind="stable")
    return Beside(*(part[order] for part in (s, d, height, tree, shade)))
