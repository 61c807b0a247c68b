"""How far the player of a dream is from that of the real game under the same keys."""

from typing import Any, NamedTuple

import numpy as np

from flam_train.evaluate.simulator.player import find_players
from flam_train.evaluate.simulator.same_keys import SameKeys


class Followed(NamedTuple):
    """Players that were followed, float64 (B, 1 + H, 2) in px: frame 0 is the last of the context.

    still, steady: what they would do that stood still or kept their velocity; seen: bool (B, 1 + H), in dreams.
    """

    real: np.ndarray
    recon: np.ndarray
    dreamt: np.ndarray
    still: np.ndarray
    steady: np.ndarray
    seen: np.ndarray


def follow_players(pressed: SameKeys, colour: tuple[int, int, int]) -> Followed:
    """Follows the players of clips, as far as they are seen at the start.

    The two simple players begin where the player is in Recon, and do not leave the frame; the velocity is that of the
    last real step of the context, none in a context of one frame.

    Raises:
        ValueError: no player is seen.
        ImportError: SciPy is missing.
    """
    steps = pressed.keys.shape[1]
    now, size = pressed.real.shape[1] - steps - 1, pressed.real.shape[2]
    real = find_players(pressed.real, colour).places
    known = np.isfinite(real[:, now]).all(-1)
    if not known.any():
        raise ValueError(f"expected a player of colour {colour} at the start of some clips, found none; draw others")
    real = real[known]
    recon, dreamt = (find_players(video[known], colour, real[:, now]) for video in (pressed.recon, pressed.dreamt))
    start, velocity = recon.places[:, :1], (real[:, now] - real[:, max(now - 1, 0)])[:, None]
    still, times = np.repeat(start, steps + 1, 1), np.arange(steps + 1)[:, None]
    steady = np.clip(start + times * velocity, 0, size)
    return Followed(real[:, now:], recon.places, dreamt.places, still, steady, dreamt.seen)


def tracking(pressed: SameKeys, colour: tuple[int, int, int]) -> dict[str, Any]:
    """Distances in px between players, beyond the error with which one is found where the tokenizer draws it.

    A player that is not seen is where it was last.

    Args:
        pressed: real keys in dreams.
        colour: of the player.

    Returns:
        clips: those in which the player is seen at the start; after: for each step that is scored its number;
        recon_px: mean distance between the player in Recon and in the real frame; dream_px, still_px, steady_px: that
        of the dream's and of the simple players beyond this, the excess errors; error_px: standard error of dream_px;
        seen: share of the dreams in which the player is seen.

    Raises:
        ValueError: no player is seen.
        ImportError: SciPy is missing.
    """
    followed = follow_players(pressed, colour)
    return {"clips": len(followed.real), "after": [_of_step(followed, step) for step in pressed.scored]}


def _of_step(followed: Followed, step: int) -> dict[str, float]:
    real, recon, *others = (np.asarray(places)[:, step] for places in followed[:-1])
    localisation = np.linalg.norm(recon - real, axis=-1)
    dream, still, steady = (np.linalg.norm(places - real, axis=-1) - localisation for places in others)
    return {
        "step": step,
        "recon_px": float(localisation.mean()),
        "dream_px": float(dream.mean()),
        "error_px": float(dream.std() / np.sqrt(len(dream))),
        "still_px": float(still.mean()),
        "steady_px": float(steady.mean()),
        "seen": float(followed.seen[:, step].mean()),
    }
