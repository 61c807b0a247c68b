"""What the camera sees of a moment: all that lies still, and before it what stands beside the road and what drives.

The camera looks ahead from 1.4 m above a plain. Things are flat and upright, painted from the farthest to the nearest.
"""

import colorsys

import numpy as np

from flam_train.sources.synthetic_drive.ego import Moment
from flam_train.sources.synthetic_drive.ground import FARTHEST, SKY, ground, hazy, sky
from flam_train.sources.synthetic_drive.painting import Colour, paint_box, paint_ellipse
from flam_train.sources.synthetic_drive.road import Road
from flam_train.sources.synthetic_drive.traffic import Car

FOCAL, HORIZON = 1.1, 0.42  # in widths of the picture, and in its heights from the top
HEIGHT, NEAREST = 1.4, 1.5  # metres: of the camera, and of things before it
LIT = -0.6  # acceleration below which brake lights are on
POST, TRUNK, CROWN = (238.0, 238.0, 232.0), (84.0, 62.0, 44.0), (44.0, 92.0, 46.0)
DARK, GLASS, LAMP, BRAKE = (30.0, 30.0, 36.0), (58.0, 66.0, 80.0), (140.0, 26.0, 26.0), (255.0, 70.0, 40.0)


class View:
    """Pictures of a road.

    Args:
        road: what is seen.
        size: height and width of the pictures in pixels.
        random: decides about hills and light.
    """

    def __init__(self, road: Road, size: int, random: np.random.Generator):
        self.road, self.size, self.focal = road, size, FOCAL * size
        self.light, self.hills = random.uniform(0.85, 1.05), random.uniform(0, 2 * np.pi, 3)
        self.columns = (size / 2 - 0.5 - np.arange(size)) / self.focal

    def frame(self, moment: Moment) -> np.ndarray:
        """The picture of a moment, uint8 (size, size, 3)."""
        horizon = HORIZON * self.size + self.focal * moment.pitch
        down = np.arange(self.size) + 0.5 - horizon
        above = down < 0
        ahead = np.minimum(HEIGHT * self.focal / np.maximum(down[~above], 1e-6), FARTHEST)
        width, points = ahead / self.focal, self._middle(moment)
        upper = sky(-down[above], moment.heading + self.columns, self.hills, self.focal)
        lower = ground(ahead, ahead * width / HEIGHT, self.columns, points, width)
        picture = np.concatenate([upper, lower])
        self._paint_things(picture, moment, horizon)
        return np.clip(picture * self.light, 0, 255).round().astype(np.uint8)

    def _seen_from(self, moment: Moment, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Metres ahead and to the left of the camera of points (P,) on the map."""
        x, y, cos, sin = x - moment.x, y - moment.y, np.cos(moment.heading), np.sin(moment.heading)
        return x * cos + y * sin, y * cos - x * sin

    def _middle(self, moment: Moment) -> np.ndarray:
        road, first = self.road, max(int(moment.s) - 4, 0)
        near = slice(first, first + int(1.2 * FARTHEST))
        ahead, aside = self._seen_from(moment, road.x[near], road.y[near])
        turned = road.heading[near] - moment.heading
        return np.stack([np.maximum.accumulate(ahead), aside, turned, road.s[near]])

    def _paint_things(self, picture: np.ndarray, moment: Moment, horizon: float) -> None:
        beside, cars = self.road.beside, moment.cars
        first, last = np.searchsorted(beside.s, [moment.s, moment.s + FARTHEST])
        s = np.concatenate([beside.s[first:last], [car.s for car in cars]])
        d = np.concatenate([beside.d[first:last], [car.d for car in cars]])
        ahead, aside = self._seen_from(moment, *self.road.places(s, d))
        haze = hazy(ahead)
        for i in np.argsort(-ahead):
            if not NEAREST < ahead[i] < FARTHEST:
                continue
            scale = self.focal / ahead[i]
            foot = self.size / 2 - aside[i] * scale, horizon + HEIGHT * scale
            if i >= last - first:
                _paint_car(picture, foot, scale, cars[i - (last - first)], haze[i])
            elif beside.tree[first + i]:
                _paint_tree(picture, foot, scale, beside.height[first + i], beside.shade[first + i], haze[i])
            else:
                x, y = foot
                paint_box(picture, x - 0.1 * scale, x + 0.1 * scale, y - scale, y, _through(POST, haze[i]))


def _paint_tree(
    picture: np.ndarray, foot: tuple[float, float], scale: float, height: float, shade: float, haze: float
) -> None:
    x, y = foot
    trunk, crown = (_through((r * shade, g * shade, b * shade), haze) for r, g, b in (TRUNK, CROWN))
    paint_box(picture, x - 0.15 * scale, x + 0.15 * scale, y - 0.5 * height * scale, y, trunk)
    wide, tall = 0.6 * height * scale, 0.75 * height * scale
    paint_ellipse(picture, x, y - 0.65 * height * scale, wide, tall, crown)


def _paint_car(picture: np.ndarray, foot: tuple[float, float], scale: float, car: Car, haze: float) -> None:
    """A car from behind, 1.8 m wide and 1.4 m high."""
    lamp = BRAKE if car.acceleration < LIT else LAMP
    r, g, b = colorsys.hsv_to_rgb(car.paint, 0.75, 0.85)
    boxes: tuple[tuple[float, float, float, float, Colour], ...] = (
        (-0.9, 0.9, 0.0, 0.12, DARK),  # left, right, bottom and top in metres: its shadow
        (-0.85, -0.55, 0.0, 0.4, DARK),
        (0.55, 0.85, 0.0, 0.4, DARK),
        (-0.9, 0.9, 0.25, 0.9, (255 * r, 255 * g, 255 * b)),
        (-0.7, 0.7, 0.9, 1.4, (215 * r, 215 * g, 215 * b)),
        (-0.6, 0.6, 0.92, 1.28, GLASS),
        (-0.88, -0.52, 0.6, 0.85, lamp),
        (0.52, 0.88, 0.6, 0.85, lamp),
    )
    for left, right, bottom, top, colour in boxes:
        x, y = foot
        edges = x + left * scale, x + right * scale, y - top * scale, y - bottom * scale
        paint_box(picture, *edges, _through(colour, haze))


def _through(colour: Colour, haze: float) -> Colour:
    """A colour as haze lets it be seen."""
    r, g, b = (part + haze * (sky - part) for part, sky in zip(colour, SKY, strict=True))
    return r, g, b
