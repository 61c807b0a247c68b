"""Where an episode starts: a bundled clip, drawn or chosen, or frames of one's own."""

from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from flam_env.dream.dream import Dream
from flam_env.video.frames import check_frames


class Start(NamedTuple):
    """clip: index of the bundled start, or -1; context: tokens (C, N)."""

    clip: int
    context: Tensor


def read_options(options: dict[str, Any] | None, known: tuple[str, ...] = ("start",)) -> dict[str, Any]:
    """The options of a reset, all of them known.

    Raises:
        ValueError: an unknown option, or no dict.
    """
    if not isinstance(options, dict | None):
        raise ValueError(f"expected reset options as a dict with keys among {list(known)}, got {options!r}")
    options = dict(options or {})
    if unknown := sorted(set(options) - set(known), key=str):
        raise ValueError(f"expected reset options among {list(known)}, got {unknown}; leave them out")
    return options


def choose_start(dream: Dream, wanted: int | np.ndarray | None, generator: np.random.Generator) -> Start:
    """The start that was asked for.

    Args:
        dream: its tokenizer encodes frames, its world holds the bundled starts.
        wanted: an index of the bundled starts; or frames uint8 (C, H, W, 3) with 1 <= C <= window of the world, oldest
            first; or None to draw a bundled start.
        generator: draws, if anything is to be drawn.

    Raises:
        ValueError: none of these, an index out of range, or frames of a wrong size, type or number.
    """
    count = len(dream.world.starts.tokens)
    if wanted is None:
        if not count:
            raise ValueError("expected options['start'] with frames, got none, and this world bundles no starts")
        return _bundled(dream, int(generator.integers(count)))
    if isinstance(wanted, Integral) and not isinstance(wanted, bool):
        if not 0 <= wanted < count:
            raise ValueError(f"expected a start in [0, {count}), got {wanted}; this world bundles {count} starts")
        return _bundled(dream, int(wanted))
    if isinstance(wanted, np.ndarray):
        return _from_frames(dream, wanted)
    raise ValueError(
        f"expected options['start'] to be an index in [0, {count}) or an array of uint8 frames (C, H, W, 3), "
        f"got {type(wanted).__name__}; leave it out to draw a bundled start"
    )


def _bundled(dream: Dream, index: int) -> Start:
    return Start(index, dream.world.starts.tokens[index, : dream.world.settings.context])


def _from_frames(dream: Dream, frames: np.ndarray) -> Start:
    size, longest = dream.world.tokenizer.config.image_size, dream.world.model.window
    return Start(-1, dream.encode(check_frames(frames, size, shortest=1, longest=longest)).cpu())
