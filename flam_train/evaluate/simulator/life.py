"""What goes on in long dreams and in real video from the same starts, which should be the same.

How many things there are, what they are like, how fast they move, how often they come and go.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from flam_train.evaluate.simulator.long_dreams import STRETCHES, LongDreams, Steps

try:
    from tqdm import tqdm
except ImportError as error:
    raise ImportError("following what lives in dreams needs tqdm: pip install 'flam-env[train]'") from error

PER = 100  # steps, for entries and exits

FindEntities = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(frames uint8 (B, T, h, w, 3), background uint8 (B, h, w, 3)) -> integers (B, T, h, w): 0 where nothing is, and the
same number for the same entity in all frames of a video."""


class Sightings(NamedTuple):
    """The entities of a video of T frames, a row for each frame in which each is seen, by entity and then by frame.

    entity, frame: int64 (S,); centre: float64 (S, 2), mean row and column in pixels; area: int64 (S,), pixels; colour:
    float64 (S, 3), mean of 0 to 255.
    """

    entity: np.ndarray
    frame: np.ndarray
    centre: np.ndarray
    area: np.ndarray
    colour: np.ndarray

    def during(self, first: int, last: int) -> "Sightings":
        """Those of frames first to last."""
        chosen = (self.frame >= first) & (self.frame <= last)
        return Sightings(*(column[chosen] for column in self))


class Life(NamedTuple):
    """What goes on in a stretch of a video.

    entities: seen in a frame; entries, exits: in 100 steps; area: of an entity, in pixels; red, green, blue: of an
    entity, 0 to 255; speed: of an entity, in pixels a step. The last five are means over sightings, NaN if there is
    none.
    """

    entities: float
    entries: float
    exits: float
    area: float
    red: float
    green: float
    blue: float
    speed: float


class Compared(NamedTuple):
    """Life in a stretch, real and dreamt: means over videos, how they spread over videos, and dreamt over real."""

    steps: Steps
    real: Life
    dreamt: Life
    real_spread: Life
    dreamt_spread: Life
    ratio: Life


def sightings(frames: np.ndarray, entities: np.ndarray) -> Sightings:
    """Describes entities.

    Args:
        frames: uint8 (T, h, w, 3).
        entities: integers (T, h, w), numbers from 1 on, 0 where nothing is.

    Raises:
        ValueError: shapes that do not belong together.
    """
    if frames.shape != (*entities.shape, 3) or entities.ndim != 3:
        raise ValueError(f"expected frames (T, h, w, 3) and entities (T, h, w), got {frames.shape}, {entities.shape}")
    places = np.argwhere(entities > 0)
    number = entities[*places.T]
    seen, row = np.unique(np.stack([number, places[:, 0]]), axis=1, return_inverse=True)
    area = np.bincount(row.ravel(), minlength=seen.shape[1])

    def mean(values: np.ndarray) -> np.ndarray:
        sums = [np.bincount(row.ravel(), column, seen.shape[1]) for column in values.T]
        return np.stack(sums, 1) / area[:, None]

    return Sightings(seen[0], seen[1], mean(places[:, 1:]), area, mean(frames[*places.T]))


def life(seen: Sightings, steps: Steps) -> Life:
    """What goes on in a stretch.

    An entity enters with the first frame that shows it and exits with the first after the last that does; what frame 0
    shows has been there, and what the last frame of the video shows stays.

    Args:
        seen: in the whole video, frame t being that of step t.
        steps: the stretch.
    """
    first, last = steps
    count, here = last - first + 1, seen.during(first, last)
    begins = np.append(True, seen.entity[1:] != seen.entity[:-1])[: len(seen.entity)]
    ends = np.append(begins[1:], True)[: len(seen.entity)]
    entries = (seen.frame[begins] >= first) & (seen.frame[begins] <= last)
    exits = (seen.frame[ends] + 1 >= first) & (seen.frame[ends] + 1 <= last)
    goes_on = (np.diff(here.entity) == 0) & (np.diff(here.frame) == 1)
    moved = np.linalg.norm(np.diff(here.centre, axis=0)[goes_on], axis=-1)
    red, green, blue = (_mean(values) for values in here.colour.T)
    return Life(
        entities=len(here.frame) / count,
        entries=PER * float(entries.sum()) / count,
        exits=PER * float(exits.sum()) / count,
        area=_mean(here.area),
        red=red,
        green=green,
        blue=blue,
        speed=_mean(moved),
    )


def compare_lives(
    real: Sequence[Sightings], dreamt: Sequence[Sightings], stretches: Sequence[Steps] = STRETCHES
) -> list[Compared]:
    """Life in real videos and in dreams from the same starts, stretch by stretch.

    A mean leaves out videos in which the value is not known.
    """
    compared = []
    for steps in stretches:
        tables = [np.array([life(seen, steps) for seen in videos]) for videos in (real, dreamt)]
        means = [Life(*(_mean(values[~np.isnan(values)]) for values in table.T)) for table in tables]
        spread = [Life(*(_spread(values[~np.isnan(values)]) for values in table.T)) for table in tables]
        ratio = Life(*(_ratio(d, r) for r, d in zip(*means, strict=True)))
        compared.append(Compared(steps, means[0], means[1], spread[0], spread[1], ratio))
    return compared


def lives(
    dreams: LongDreams, background: np.ndarray, find: FindEntities, stretches: Sequence[Steps] = STRETCHES
) -> list[Compared]:
    """Life in long dreams and in the real video from their starts.

    Both are seen before one background: that of a dream which stands still would hide all in it.

    Args:
        dreams: real and dreamt videos.
        background: of the real videos, uint8 (B, h, w, 3).
        find: numbers the entities.
        stretches: of the dreams.
    """
    real, dreamt = list[Sightings](), list[Sightings]()
    videos = tqdm(background, desc="following", unit=" dreams", leave=False, disable=None)
    for *pair, behind in zip(dreams.real, dreams.dreamt, videos, strict=True):
        for frames, seen in zip(pair, (real, dreamt), strict=True):
            seen.append(sightings(frames, find(frames[None], behind[None])[0]))
    return compare_lives(real, dreamt, stretches)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _spread(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def _ratio(dreamt: float, real: float) -> float:
    """Dreamt over real: 1 where neither is, infinite where there is only a dreamt one."""
    if real == 0:
        return 1.0 if dreamt == 0 else float("inf")
    return dreamt / real
