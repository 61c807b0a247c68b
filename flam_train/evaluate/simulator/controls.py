"""Controls of real or dream: what its networks must not see, and what they must.

They cannot tell real windows from real windows; and they can tell real windows in which one thing vanishes.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from flam_env.dream.dream import Dream
from flam_env.video.frames import to_uint8
from flam_train.engine import FitConfig
from flam_train.evaluate.entities import import_ndimage
from flam_train.evaluate.simulator.long_dreams import STRETCHES, LongDreams, Steps
from flam_train.evaluate.simulator.realism import FIT, FRAMES, Told, cut_windows, told_apart
from flam_train.evaluate.steering import EFFECT_PIXELS, VISIBLE

SAME_WITHIN, DELETED_AT_LEAST = 0.03, 0.7  # .5 +- .03, and .7
CHUNK = 256


class Controls(NamedTuple):
    """AUC of real windows against real ones, and against real ones in which one thing vanishes, if there are things."""

    same: Told
    deleted: Told | None

    @property
    def hold(self) -> bool:
        """Whether the networks see nothing where there is nothing, and something where there is."""
        seen = self.deleted is None or self.deleted.mean >= DELETED_AT_LEAST
        return abs(self.same.mean - 0.5) <= SAME_WITHIN and seen


def realism_controls(
    dreams: LongDreams,
    background: np.ndarray | None,
    round_trip: Callable[[Tensor], Tensor],
    stretches: Sequence[Steps] = STRETCHES,
    seed: int = 0,
    config: FitConfig = FIT,
) -> Controls:
    """The two controls, on windows of all stretches together.

    Of each two windows of a video that follow each other one, by the toss of a coin, counts as dreamt.

    Args:
        dreams: of which only the real side is used.
        background: of the real videos, uint8 (B, h, w, 3), what is seen where a thing vanishes; None where nothing
            lies still behind things, which leaves out the second control.
        round_trip: windows uint8 (P, 8, h, w, 3) as the tokenizer draws them: a thing is deleted before the tokenizer
            sees the window, so that no sharp edge betrays it.
        stretches: as for `realism`.
        seed: decides about all that is by chance.
        config: as for `tell_apart`.

    Raises:
        ValueError: fewer than two windows, too few things that could be deleted, or as for `realism`.
    """
    random = np.random.default_rng(seed)
    one, other, of = _pairs(dreams.real, stretches, random)
    same = told_apart(one, other, dreams.levels[of], seed, config)
    if background is None:
        return Controls(same, None)
    changed = [without_one(window.numpy(), background[at], random) for window, at in zip(other, of, strict=True)]
    lacking = {row: window for row, window in enumerate(changed) if window is not None}
    if not lacking:
        raise ValueError("expected things that differ from the still background, got none; take livelier video")
    rows, deleted = list(lacking), torch.from_numpy(np.stack(list(lacking.values())))
    told = told_apart(round_trip(one[rows]), round_trip(deleted), dreams.levels[of[rows]], seed, config)
    return Controls(same, told)


def _pairs(
    videos: np.ndarray, stretches: Sequence[Steps], random: np.random.Generator
) -> tuple[Tensor, Tensor, np.ndarray]:
    """Windows that follow each other, in random order: the ones and the others (P, 8, h, w, 3), and of which video."""
    windows = torch.cat([cut_windows(videos, steps) for steps in stretches], 1)
    pairs = windows.shape[1] // 2
    if not pairs:
        raise ValueError(f"expected stretches with at least two windows of {FRAMES} frames, got {stretches}; give more")
    paired = windows[:, : 2 * pairs].unflatten(1, (pairs, 2)).flatten(0, 1)
    row, second = torch.arange(len(paired)), torch.from_numpy(random.integers(0, 2, len(paired)))
    return paired[row, 1 - second], paired[row, second], np.repeat(np.arange(len(videos)), pairs)


def without_one(window: np.ndarray, background: np.ndarray, random: np.random.Generator) -> np.ndarray | None:
    """A window uint8 (8, h, w, 3) in which one thing, what hangs together in space and time, vanishes halfway.

    Args:
        window: real frames.
        background: uint8 (h, w, 3), what is seen where the thing was.
        random: chooses the thing.

    Returns:
        The window, or None if nothing large enough is there when it would vanish.
    """
    half = FRAMES // 2
    differs = np.abs(window.astype(np.int16) - background).max(-1) >= VISIBLE
    things, count = import_ndimage().label(differs, np.ones((3, 3, 3)))
    around = [np.bincount(things[frame].ravel(), minlength=count + 1) for frame in (half - 1, half)]
    large = np.flatnonzero(np.minimum(*around)[1:] >= EFFECT_PIXELS) + 1
    if not len(large):
        return None
    gone = things == random.choice(large)
    gone[:half] = False
    return np.where(gone[..., None], background, window)


def tokenizer_round_trip(dream: Dream) -> Callable[[Tensor], Tensor]:
    """Windows uint8 (P, 8, h, w, 3) -> the same as the world's tokenizer draws them, on the CPU."""

    @torch.inference_mode()
    def drawn(windows: Tensor) -> Tensor:
        parts = [
            to_uint8(dream.tokenizer.decode(dream.encode(part.numpy()))).cpu()
            for part in windows.flatten(0, 1).split(CHUNK)
        ]
        return torch.cat(parts).unflatten(0, windows.shape[:2])

    return drawn
