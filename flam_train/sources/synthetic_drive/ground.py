"""What lies still around the camera: sky and hills, grass, and the road with its markings in perspective.

Pixels mix what they cover, also along the road, so that markings flow and do not flicker.
"""

from itertools import pairwise

import numpy as np

from flam_train.sources.synthetic_drive.painting import Colour
from flam_train.sources.synthetic_drive.road import HALF_WIDTH, LANES

FARTHEST = 90.0  # metres ahead at which all is haze
DASH, PERIOD, LINE = 3.0, 8.0, 0.16  # metres: length and distance of dashes, and width of all lines
FURROW = 12.0  # metres from one lighter stripe of grass to the next
HAZE = 120.0  # metres in which two thirds of the contrast are lost
SKY, ZENITH, HILLS = (196.0, 214.0, 232.0), (96.0, 150.0, 214.0), (92.0, 116.0, 108.0)
GRASS, ASPHALT, WHITE = (88.0, 128.0, 62.0), (92.0, 92.0, 98.0), (232.0, 232.0, 226.0)
MARKED = tuple((one + other) / 2 for one, other in pairwise(LANES))


def sky(above: np.ndarray, bearings: np.ndarray, phases: np.ndarray, focal: float) -> np.ndarray:
    """Sky with hills: float32 (R, W, 3).

    Args:
        above: pixels (R,) above the horizon.
        bearings: radians (W,), on the map, in which each column looks.
        phases: (3,), which hills these are.
        focal: pixels.
    """
    height = np.clip(above / focal / 0.45, 0, 1)[:, None, None]
    picture = (1 - height) * np.array(SKY) + height * np.array(ZENITH)
    waves = np.sin(np.outer([2.0, 5.0, 11.0], bearings) + phases[:, None])
    tops = focal * (0.06 + np.array([0.035, 0.018, 0.008]) @ waves)
    hidden = np.clip(tops - above[:, None] + 0.5, 0, 1)[..., None]
    return (picture * (1 - hidden) + hidden * np.array(HILLS)).astype(np.float32)


def ground(
    ahead: np.ndarray, length: np.ndarray, columns: np.ndarray, points: np.ndarray, width: np.ndarray
) -> np.ndarray:
    """Grass and road: float32 (R, W, 3).

    Args:
        ahead: metres (R,) at which each row looks at the ground.
        length: metres (R,) of ground that lie in a pixel of it.
        columns: (W,), metres to the left at a metre ahead.
        points: (4, P) of the middle of the road: metres ahead, ascending, and to the left, heading to the camera's, s.
        width: metres (R,) that lie beside each other in a pixel.
    """
    aside, heading, s = (np.interp(ahead, points[0], part) for part in points[1:])
    beside = (ahead[:, None] * columns - aside[:, None]) * np.cos(heading)[:, None]
    furrows = 1 + 0.12 * np.sin(2 * np.pi * s / FURROW) * np.exp(-((2 * length / FURROW) ** 2))
    picture = furrows[:, None, None] * np.array(GRASS)
    picture = _over(picture, _cover(beside, 0.0, 2 * HALF_WIDTH, width), ASPHALT)
    lines = _cover(beside, HALF_WIDTH - 0.4, LINE, width) + _cover(beside, 0.4 - HALF_WIDTH, LINE, width)
    dashes = sum(_cover(beside, place, LINE, width) for place in MARKED) * _dashed(s, length)[:, None]
    picture = _over(picture, lines + dashes, WHITE)
    return _over(picture, np.broadcast_to(hazy(ahead)[:, None], beside.shape), SKY).astype(np.float32)


def hazy(ahead: np.ndarray) -> np.ndarray:
    """How much of what is so many metres ahead is haze."""
    return 1 - np.exp(-ahead / HAZE)


def _cover(beside: np.ndarray, place: float, wide: float, width: np.ndarray) -> np.ndarray:
    """How much of each pixel (R, W) a stripe along the road covers; pixels of a row are `width` (R,) metres wide."""
    pixel = width[:, None]
    overlap = (wide + pixel) / 2 - np.abs(beside - place)
    return np.clip(overlap, 0, np.minimum(wide, pixel)) / pixel


def _dashed(s: np.ndarray, length: np.ndarray) -> np.ndarray:
    """How much of each row (R,) is dash, of a row from s for `length` metres."""

    def dashes_before(place: np.ndarray) -> np.ndarray:
        return np.floor(place / PERIOD) * DASH + np.minimum(place % PERIOD, DASH)

    return (dashes_before(s + length / 2) - dashes_before(s - length / 2)) / length


def _over(picture: np.ndarray, cover: np.ndarray, colour: Colour) -> np.ndarray:
    return picture + cover[..., None] * (np.array(colour) - picture)
