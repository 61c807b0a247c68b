"""Whether a shot appears in dreams of Starpilot when the key that fires is pressed.

In the game the next frame shows a new shot just ahead of the ship, each time; one frame later that is 3 px further on.
So a shot that is where new ones appear was fired just now.
"""

from typing import Any

import numpy as np

from flam_train.evaluate.simulator.player import COLOURS, find_players, likeness
from flam_train.evaluate.simulator.same_keys import SameKeys

GAME, FIRE = "starpilot", 9
"""The game, and the action that stands for all those that fire ahead."""
COLOUR = (255, 150, 40)
HUE_APART = 0.3  # as for the player's colour, wider: the tokenizer blurs shots, and nothing else there is as orange
AHEAD, BESIDE = (1.0, 4.0), 2.0  # px of a frame of 64 from the ship's middle, between which the middles of pixels lie
LEAST = 0.6  # pixels of a frame of 64 in full colour that make a shot
WITHIN = (1, 3)  # frames in which a shot may appear


def check_fires(source: str) -> None:
    """Refuses data of a source whose shots are not known.

    Raises:
        ValueError: it is of another game.
    """
    if source != f"procgen/{GAME}":
        raise ValueError(f"expected data of {GAME}, whose shots are known, got {source!r}; leave out the metric shots")


def see_shots(frames: np.ndarray, ships: np.ndarray) -> np.ndarray:
    """Where a shot is just ahead of the ship: frames uint8 (B, T, H, W, 3), ships (B, T, 2) in px -> bool (B, T)."""
    return np.stack([_see(video, places) for video, places in zip(frames, ships, strict=True)])


def _see(frames: np.ndarray, ships: np.ndarray) -> np.ndarray:
    scale = frames.shape[1] / 64
    middles = np.indices(frames.shape[1:3]).transpose(1, 2, 0) + 0.5
    beside, ahead = np.moveaxis(middles - ships[:, None, None], -1, 0) / scale
    inside = (abs(beside) < BESIDE) & (ahead >= AHEAD[0]) & (ahead < AHEAD[1])
    return (likeness(frames, COLOUR, HUE_APART) * inside).sum((1, 2)) >= LEAST * scale**2


def shots(pressed: SameKeys, classes: np.ndarray) -> dict[str, Any]:
    """How often a shot appears when fired, and when not.

    Clips are scored whose recorded frames show what the key says. Others are left out: a ship at the edge of the frame
    shoots out of it, and one that flies as fast as its last shot has that still ahead.

    Args:
        pressed: real keys in dreams of Starpilot.
        classes: int64 (C,), the action that stands for all those with the same effect.

    Returns:
        clips: how many there are; after: for each step that is scored and each number of frames in which a shot may
        appear, as far as the dreams last, step and within; fired: clips whose key of this step fires; shown, real:
        share of these in which a shot appears in dreams and in Recon; error: standard error of shown; others: clips
        where no key of these frames fires; unasked, unasked_real: share of these in which a shot appears nonetheless.
        Shares of no clips are None.

    Raises:
        ImportError: SciPy is missing.
    """
    colour, count = COLOURS[GAME], pressed.keys.shape[1]
    ships = find_players(pressed.real, colour).places
    start = ships[:, -count - 1]
    fired = classes[pressed.keys] == FIRE
    recorded = see_shots(pressed.real[:, -count:], ships[:, -count:])
    recon, dreamt = (
        see_shots(video, find_players(video, colour, start).places)[:, 1:] for video in (pressed.recon, pressed.dreamt)
    )
    spans = [(step, within) for step in pressed.scored for within in WITHIN if step + within <= count + 1]
    after = [_of_span(step, within, fired, (recorded, recon, dreamt)) for step, within in spans]
    return {"clips": len(fired), "after": after}


def _of_span(step: int, within: int, fired: np.ndarray, seen: tuple[np.ndarray, ...]) -> dict[str, Any]:
    """Scores of keys fired (B, H), and shots seen in recorded frames, in Recon and in dreams, bool (B, H) each."""
    frames = slice(step - 1, step - 1 + within)
    recorded, recon, dreamt = (each[:, frames].any(1) for each in seen)
    asked, unasked = fired[:, step - 1] & recorded, ~fired[:, frames].any(1) & ~recorded
    shown = _share(dreamt[asked])
    return {
        "step": step,
        "within": within,
        "fired": int(asked.sum()),
        "shown": shown,
        "error": None if shown is None else float(np.sqrt(shown * (1 - shown) / asked.sum())),
        "real": _share(recon[asked]),
        "others": int(unasked.sum()),
        "unasked": _share(dreamt[unasked]),
        "unasked_real": _share(recon[unasked]),
    }


def _share(seen: np.ndarray) -> float | None:
    return float(seen.mean()) if len(seen) else None
