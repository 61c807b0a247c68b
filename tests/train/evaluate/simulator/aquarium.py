"""A world whose truth is known: fish that enter at the left of their lane, swim and leave, as often as one likes."""

import numpy as np

from flam_train.evaluate.simulator.long_dreams import LongDreams

SIZE, LANES, FISH, SPEED = 24, 3, 5, 2
COLOURS = ((240, 80, 40), (60, 220, 90), (70, 110, 250))
STEPS = 200


def aquarium(seed: int, steps: int = STEPS, entries_until: int = STEPS) -> np.ndarray:
    """A video uint8 (1 + steps, 24, 24, 3) on black that has gone on for a while; in time nothing enters any more."""
    random, lane_height, before = np.random.default_rng(seed), SIZE // LANES, 60
    frames = np.zeros((1 + steps, SIZE, SIZE, 3), np.uint8)
    places: list[int | None] = [None] * LANES
    for step in range(-before, steps + 1):
        for lane, (place, colour) in enumerate(zip(places, COLOURS, strict=True)):
            if place is None:
                place = 0 if step <= entries_until and random.random() < 0.15 else None
            else:
                place = place + SPEED if place + SPEED < SIZE - 2 else None
            places[lane] = place
            if step >= 0 and place is not None:
                top = lane * lane_height + 1
                frames[step, top : top + FISH, place : place + FISH] = colour
    return frames


def find_fish(frames: np.ndarray, background: np.ndarray) -> np.ndarray:
    """The fish in videos (B, T, 24, 24, 3): each lane has one at most, and who comes after a gap is another."""
    seen = (np.abs(frames.astype(int) - background[:, None]) > 50).any(-1)
    lanes = seen.reshape(*seen.shape[:2], LANES, SIZE // LANES, SIZE)
    there = lanes.any((-2, -1))
    new = there & ~np.concatenate([np.zeros_like(there[:, :1]), there[:, :-1]], 1)
    number = new.cumsum(1) * LANES + np.arange(LANES)
    return (lanes * number[..., None, None]).reshape(seen.shape)


def dreams_of(dreamt: np.ndarray, real: np.ndarray) -> LongDreams:
    """As if these videos (B, T, 24, 24, 3) had been dreamt, two of each level."""
    return LongDreams(real, dreamt, np.arange(len(real)) // 2)
