"""Where the player of a game is, by its colour, which nothing else in the game has.

Where a thing in a dream has the colour, or the player has lost it, one is mistaken; so players are followed from where
they were, no further than they can have come.
"""

from typing import NamedTuple

import numpy as np

from flam_train.evaluate.entities import import_ndimage

COLOURS = {"bigfish": (39, 174, 96), "leaper": (160, 193, 54), "starpilot": (128, 175, 186)}
"""RGB of each game's player."""
HUE_APART = 0.2  # distance of colours of unit length, from which on a pixel is not the player's
WINDOW = 2.0  # px of a frame of 64 around a place that tell where it is
REACH = 6.0  # px of a frame of 64 that a player may move in a step
LEAST = 0.5  # pixels of a frame of 64 in full colour that make a player


class Places(NamedTuple):
    """Where players are: places float64 (B, T, 2), rows and columns in px, and seen bool (B, T).

    Where a player is not seen it is where it was last, NaN before it was seen at all.
    """

    places: np.ndarray
    seen: np.ndarray


def player_colour(source: str) -> tuple[int, int, int]:
    """The colour of the player in data of a source.

    Raises:
        ValueError: it is no game whose player is known by its colour.
    """
    colour = COLOURS.get(source.removeprefix("procgen/"))
    if colour is None:
        raise ValueError(
            f"expected data of {', '.join(COLOURS)}, whose players are known by their colour, got {source!r}; leave "
            "out the metric tracking"
        )
    return colour


def find_players(frames: np.ndarray, colour: tuple[int, int, int], start: np.ndarray | None = None) -> Places:
    """Follows the players of videos.

    Args:
        frames: uint8 (B, T, H, W, 3).
        colour: RGB.
        start: float64 (B, 2), where each was just before; by default each is sought everywhere until it is seen.

    Raises:
        ImportError: SciPy is missing.
    """
    starts = np.full((len(frames), 2), np.nan) if start is None else start
    found = [_follow(likeness(video, colour), where) for video, where in zip(frames, starts, strict=True)]
    return Places(np.stack([places for places, _ in found]), np.stack([seen for _, seen in found]))


def likeness(frames: np.ndarray, colour: tuple[int, int, int], hue_apart: float = HUE_APART) -> np.ndarray:
    """How much each pixel of frames (T, H, W, 3) is of a colour, however dark: float64 (T, H, W), 1 in full colour.

    Args:
        frames: uint8.
        colour: RGB.
        hue_apart: distance of colours of unit length, from which on a pixel is of another one.
    """
    wanted, seen = np.array(colour, float), frames.astype(float)
    length = np.linalg.norm(seen, axis=-1)
    apart = np.linalg.norm(seen / np.maximum(length, 1)[..., None] - wanted / np.linalg.norm(wanted), axis=-1)
    return np.clip(1 - apart / hue_apart, 0, None) * length / np.linalg.norm(wanted)


def _follow(likeness: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A video's likeness (T, H, W) and a place (2,), or NaN -> places (T, 2), and where it was seen, bool (T,)."""
    scale = likeness.shape[1] / 64
    half, least = max(round(WINDOW * scale), 1), LEAST * scale**2
    side = 2 * half + 1
    inside = import_ndimage().uniform_filter(likeness, (0, side, side), mode="constant") * side**2
    middles = np.indices(likeness.shape[1:]).transpose(1, 2, 0) + 0.5
    place, unseen = start, 0
    places, seen = np.empty((len(likeness), 2)), np.zeros(len(likeness), bool)
    for time, (like, near) in enumerate(zip(likeness, inside, strict=True)):
        reach = REACH * scale * (unseen + 1)
        near = np.where(np.linalg.norm(middles - place, axis=-1) > reach, 0, near)  # all are in reach of NaN
        row, column = np.unravel_index(near.argmax(), near.shape)
        seen[time] = near[row, column] >= least
        if seen[time]:
            window = tuple(slice(max(int(at) - half, 0), int(at) + half + 1) for at in (row, column))
            place = np.average(middles[window].reshape(-1, 2), 0, like[window].ravel())
        unseen = 0 if seen[time] else unseen + 1
        places[time] = place
    return places, seen
