"""Entities from pixels: what stands out from the background of a clip, followed over its frames.

A thing is a connected component of the pixels that differ from the background, and what continues it by place, colour
and size in the next frame has the same number. Made for games without painted backgrounds, whose things are known by
sight alone.
"""

from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

import numpy as np

from flam_train.evaluate.rooms.cell_probe import import_assignment
from flam_train.evaluate.steering import VISIBLE

PLAIN = 0.9  # share of a background in one colour that makes it plain
SMALLEST = 8  # pixels of a frame of 64 x 64 that make an entity
MEMORY = 16  # frames for which a thing that is hidden, or is one with another, is awaited where its speed takes it
REACH = 8.0  # pixels of a frame of 64 that a thing may be from where it is awaited
COLOURS_APART = 64.0  # difference of mean colours, of 255, from which on two things have nothing alike
ALIKE = 0.8  # least affinity, of 3, of a thing with what it was: overlap, colour and size give up to 1 each
COLOUR_OF_A_PIXEL = 32.0  # difference in colour that weighs as much as one pixel of distance, where things touch


def find_background(frames: np.ndarray) -> np.ndarray:
    """What lies behind the things of clips: the median of their pixels over time.

    Where nine tenths of the median over all clips are of one colour, it is that colour, so that what stands still
    before it stays a thing.

    Args:
        frames: uint8 (B, T, H, W, 3).

    Returns:
        uint8 (B, H, W, 3).
    """
    whole = np.median(frames, (0, 1)).astype(np.uint8)
    colour = np.median(whole, (0, 1)).astype(np.uint8)
    if _differs(whole, colour).mean() > 1 - PLAIN:
        return np.median(frames, 1).astype(np.uint8)
    return np.broadcast_to(colour, frames[:, 0].shape)


def find_entities(frames: np.ndarray, background: np.ndarray | None = None) -> np.ndarray:
    """Numbers the entities of clips; the same number in two frames of a clip is the same entity.

    Things that touch are told apart while their speed and colour tell where each is, for `MEMORY` frames; from then on
    they are one. What is seen again within that time keeps its number.

    Args:
        frames: uint8 (B, T, H, W, 3).
        background: uint8, broadcast to (B, H, W, 3); by default `find_background`.

    Returns:
        int64 (B, T, H, W), 0 where nothing is, numbers from 1 on in each clip.

    Raises:
        ValueError: frames of another shape or type.
        ImportError: SciPy is missing.
    """
    if frames.ndim != 5 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise ValueError(f"expected frames uint8 (B, T, H, W, 3), got {frames.dtype} {frames.shape}")
    behind = find_background(frames) if background is None else np.broadcast_to(background, frames[:, 0].shape)
    label, smallest = import_ndimage().label, smallest_area(*frames.shape[2:4])
    touching = np.zeros((3, 3, 3))
    touching[1] = 1  # within a frame
    entities = np.empty(frames.shape[:4], np.int64)
    for clip, (seen, still) in enumerate(zip(frames, behind, strict=True)):
        components, count = label(_differs(seen, still), touching)
        large = np.bincount(components.ravel(), minlength=count + 1) >= smallest
        entities[clip] = _Tracker(seen.shape[1:3]).follow(seen, np.where(large[components], components, 0))
    return entities


def smallest_area(height: int, width: int) -> int:
    """Pixels that make an entity in frames of that size."""
    return max(round(SMALLEST * height * width / 64**2), 1)


def import_ndimage() -> ModuleType:
    """SciPy's operations on images.

    Raises:
        ImportError: the package is missing; the message names the remedy.
    """
    try:
        from scipy import ndimage
    except ImportError as error:
        raise ImportError(
            f"entities from pixels need scipy ({error}); install it with: pip install 'flam-env[eval]'"
        ) from error
    return ndimage


def _differs(frames: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Pixels (..., 3) in which one sees a difference: bool (...)."""
    return (np.abs(frames.astype(np.int16) - background) >= VISIBLE).any(-1)


class _Thing(NamedTuple):
    """An entity when it was last seen by itself.

    pixels: int64 (P, 2), rows and columns; colour: float64 (3,), mean over pixels and frames; velocity: float64 (2,)
    in pixels a frame; time: the frame.
    """

    number: int
    pixels: np.ndarray
    colour: np.ndarray
    velocity: np.ndarray
    time: int

    def seen(self, pixels: np.ndarray, colour: np.ndarray, time: int) -> "_Thing":
        """The thing at a later time; its colour and its velocity are means that forget."""
        velocity = (pixels.mean(0) - self.pixels.mean(0)) / (time - self.time)
        return _Thing(self.number, pixels, (self.colour + colour) / 2, (self.velocity + velocity) / 2, time)

    def awaited(self, time: int, shape: tuple[int, ...]) -> np.ndarray:
        """Where it is at a later time if it moves on: bool (H, W)."""
        pixels = self.pixels + np.rint(self.velocity * (time - self.time)).astype(int)
        pixels = pixels[((pixels >= 0) & (pixels < shape)).all(1)]
        mask = np.zeros(shape, bool)
        mask[*pixels.T] = True
        return mask


_Waiting = list[tuple[_Thing, np.ndarray]]  # things that no part of the frame continues yet, and where they are awaited


class _Tracker:
    """Follows the components of one clip."""

    def __init__(self, shape: tuple[int, ...]):
        self.shape, self.smallest, self.reach = shape, smallest_area(*shape), REACH * shape[0] / 64
        self.things: list[_Thing] = []
        self.count = 0
        self.assign: Callable = import_assignment()
        self.distance: Callable = import_ndimage().distance_transform_edt

    def follow(self, frames: np.ndarray, components: np.ndarray) -> np.ndarray:
        """Frames (T, H, W, 3) and their components int (T, H, W), 0 for none -> entities int64 (T, H, W)."""
        entities = np.zeros(components.shape, np.int64)
        for time, (frame, labels) in enumerate(zip(frames.astype(float), components, strict=True)):
            parts = [labels == label for label in np.unique(labels[labels > 0])]
            waiting = [(thing, thing.awaited(time, self.shape)) for thing in self.things]
            waiting = [(t, w) for t, w in waiting if time - t.time <= MEMORY and w.sum() >= self.smallest]
            self.things = []
            parts, waiting = self._divide(parts, waiting, frame, entities[time])
            self._continue(parts, waiting, frame, time, entities[time])
        return entities

    def _divide(self, parts: list, waiting: _Waiting, frame: np.ndarray, entities: np.ndarray) -> tuple[list, _Waiting]:
        """Numbers the parts that are several things at once; returns the other parts and who may wait for them.

        Each pixel goes to the thing that is awaited nearest in place and colour. Such a part teaches nothing: until
        things are seen by themselves, they move on as they did.
        """
        single: list[np.ndarray] = []
        met: set[int] = set()
        for part in parts:
            inside = [i for i, (_, w) in enumerate(waiting) if i not in met and (w & part).sum() >= w.sum() / 2]
            owner = self._nearest(part, [waiting[i] for i in inside], frame)
            shown = [which for which in range(len(inside)) if (owner == which).sum() >= self.smallest]
            if len(shown) < 2:
                single.append(part)
                continue
            owner = self._nearest(part, [waiting[inside[which]] for which in shown], frame)
            entities[part] = np.array([waiting[inside[which]][0].number for which in shown])[owner]
            met |= {inside[which] for which in shown}
        self.things += [waiting[i][0] for i in met]
        return single, [each for i, each in enumerate(waiting) if i not in met]

    def _nearest(self, part: np.ndarray, waiting: _Waiting, frame: np.ndarray) -> np.ndarray:
        """Which of those that wait each pixel of a part (H, W) is nearest to: int64 (P,)."""
        if len(waiting) < 2:
            return np.zeros(part.sum(), np.int64)
        costs = [
            self.distance(~mask)[part] + np.abs(frame[part] - thing.colour).max(-1) / COLOUR_OF_A_PIXEL
            for thing, mask in waiting
        ]
        return np.argmin(costs, 0)

    def _continue(self, parts: list, waiting: _Waiting, frame: np.ndarray, time: int, entities: np.ndarray) -> None:
        """Gives each part the number of the thing that it continues, or a new one; the others wait on."""
        affinity = np.array([[self._affinity(thing, mask, part, frame) for part in parts] for thing, mask in waiting])
        affinity = affinity.reshape(len(waiting), len(parts))
        pairs = {column: row for row, column in zip(*self.assign(-affinity), strict=True) if affinity[row, column] > 0}
        for column, part in enumerate(parts):
            pixels, colour = np.argwhere(part), frame[part].mean(0)
            if column in pairs:
                thing = waiting[pairs[column]][0].seen(pixels, colour, time)
            else:
                self.count += 1
                thing = _Thing(self.count, pixels, colour, np.zeros(2), time)
            entities[part] = thing.number
            self.things.append(thing)
        self.things += [thing for row, (thing, _) in enumerate(waiting) if row not in pairs.values()]

    def _affinity(self, thing: _Thing, awaited: np.ndarray, part: np.ndarray, frame: np.ndarray) -> float:
        """How much a part looks like the thing, where and as it is awaited; 0 if it cannot be."""
        common = (awaited & part).sum()
        away = np.linalg.norm(np.argwhere(part).mean(0) - np.argwhere(awaited).mean(0))
        if not common and away > self.reach:
            return 0.0
        overlap = common / (awaited | part).sum()
        colour = max(1 - np.abs(frame[part].mean(0) - thing.colour).max() / COLOURS_APART, 0)
        size = min(awaited.sum(), part.sum()) / max(awaited.sum(), part.sum())
        affinity = float(overlap + colour + size)
        return affinity if affinity >= ALIKE else 0.0
