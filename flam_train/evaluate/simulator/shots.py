"""Whether a shot appears in dreams of Starpilot when the key that fires is pressed.

In the game the next frame shows a new shot just ahead of the ship, each time; one frame later that is 3 px further on.
So a shot that is where new ones appear was fired just now.
"""

from typing import Any, NamedTuple

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


class Windows(NamedTuple):
    """What is pressed and seen in windows of some frames, bool (B, S): window s begins with the frame after key s.

    asked: its first key fires, and a shot is in the recorded frames; unasked: none of its keys fires, and none is
    there; recon, dreamt: whether a shot appears in Recon and in dreams.
    """

    asked: np.ndarray
    unasked: np.ndarray
    recon: np.ndarray
    dreamt: np.ndarray


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
        share of these in which a shot appears in dreams and in Recon; error: standard error of shown over clips;
        others: clips where no key of these frames fires; unasked, unasked_real: share of these in which a shot appears
        nonetheless. Shares of no clips are None. all_steps: the same of all steps together, without step, where fired
        and others are keys.

    Raises:
        ImportError: SciPy is missing.
    """
    after, together = list[dict[str, Any]](), list[dict[str, Any]]()
    fired = classes[pressed.keys] == FIRE
    for within, windows in _windows(pressed, fired).items():
        last = windows.asked.shape[1]
        columns = {step: Windows(*(each[:, step - 1 : step] for each in windows)) for step in pressed.scored}
        after += [
            {"step": step, "within": within} | _scores(column) for step, column in columns.items() if step <= last
        ]
        together.append({"within": within} | _scores(windows))
    after.sort(key=lambda each: each["step"])
    return {"clips": len(fired), "after": after, "all_steps": together}


def _windows(pressed: SameKeys, fired: np.ndarray) -> dict[int, Windows]:
    """The windows of each length that dreams are long enough for."""
    colour, count = COLOURS[GAME], pressed.keys.shape[1]
    ships = find_players(pressed.real, colour).places
    start = ships[:, -count - 1]
    recorded = see_shots(pressed.real[:, -count:], ships[:, -count:])
    recon, dreamt = (
        see_shots(video, find_players(video, colour, start).places)[:, 1:] for video in (pressed.recon, pressed.dreamt)
    )
    found = {}
    for within in (frames for frames in WITHIN if frames <= count):
        any_fired, *shown = (
            np.lib.stride_tricks.sliding_window_view(each, within, 1).any(-1)
            for each in (fired, recorded, recon, dreamt)
        )
        asked = fired[:, : shown[0].shape[1]] & shown[0]
        found[within] = Windows(asked, ~any_fired & ~shown[0], *shown[1:])
    return found


def _scores(windows: Windows) -> dict[str, Any]:
    asked, unasked, recon, dreamt = windows
    shown = _share(dreamt[asked])
    return {
        "fired": int(asked.sum()),
        "shown": shown,
        "error": None if shown is None else _error(asked, dreamt, shown),
        "real": _share(recon[asked]),
        "others": int(unasked.sum()),
        "unasked": _share(dreamt[unasked]),
        "unasked_real": _share(recon[unasked]),
    }


def _share(seen: np.ndarray) -> float | None:
    return float(seen.mean()) if len(seen) else None


def _error(asked: np.ndarray, seen: np.ndarray, share: float) -> float:
    """Standard error of the share seen of what is asked, bool (B, S) each, over clips, to first order."""
    gained = (asked & seen).sum(1) - share * asked.sum(1)
    return float(np.sqrt((gained**2).sum()) / asked.sum())
