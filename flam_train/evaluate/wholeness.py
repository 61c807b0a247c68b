"""Do things stay whole in a long dream? Its pictures are compared, window by window, with real ones.

A window, a quarter of a frame high and wide, that shows something is whole if some real window looks like it. A dream
in which things tear, smear or grow has windows that nothing real resembles; one in which they fade has fewer windows.
The measure knows nothing of what should happen: it complements pictures that a person looks at.
"""

import math
from typing import Any, NamedTuple

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, unfold

from flam_env.dream.dream import Dream
from flam_env.video.frames import to_float, to_uint8
from flam_train.evaluate.rollouts import roll_freely
from flam_train.store.clips import Clips

SIDE, WINDOW, STRIDE = 32, 8, 2  # frames are shrunk to this side, in pixels, before windows are compared
SOMETHING = 0.05  # least spread of a window's values, of 1, that shows something
CHUNK = 1024
EVERY = 2  # frame of the starts is a real one to compare with
DREAMT_STEPS = (1, 2, 4, 8, 16, 25, 50, 75, 100)


class Wholeness(NamedTuple):
    """Of F frames.

    nearest_psnr: (F,) mean over a frame's windows of the PSNR in dB to the nearest real window, NaN where a frame
    shows nothing; filled: (F,) share of a frame's windows that show something.
    """

    nearest_psnr: Tensor
    filled: Tensor


@torch.inference_mode()
def dream_scores(dream: Dream, clips: Clips, seed: int = 0) -> dict[str, Any]:
    """Long dreams from the clips' first frames in which nobody acts, with the world's starts as the real frames.

    Returns:
        `step`, and for each of these steps the means of `nearest_psnr` and `filled` over the dreams;
        `real_nearest_psnr` and `real_filled` of the clips' last true frames: what dreams that stay whole would have.
        A PSNR is None where no frame shows anything.
    """
    context, (count, _, *image) = dream.world.settings.context, clips.frames.shape
    real = _decode(dream, dream.world.starts.tokens[:, ::EVERY].flatten(0, 1).to(dream.device))
    held_out = _decode(dream, dream.encode(clips.frames[:, -1]))
    start = dream.encode(clips.frames[:, :context].reshape(-1, *image)).unflatten(0, (count, context))
    random = torch.Generator().manual_seed(seed)
    frames = roll_freely(dream, start, DREAMT_STEPS[-1], random)
    seen = wholeness(torch.cat([held_out, *(frames[:, step - 1] for step in DREAMT_STEPS)]), real)
    last, *dreamt = map(Wholeness, *(values.split(count) for values in seen))
    return {
        "step": list(DREAMT_STEPS),
        "nearest_psnr": [_mean_nearest(each) for each in dreamt],
        "filled": [each.filled.mean().item() for each in dreamt],
        "real_nearest_psnr": _mean_nearest(last),
        "real_filled": last.filled.mean().item(),
    }


def _mean_nearest(of: Wholeness) -> float | None:
    mean = of.nearest_psnr.nanmean().item()
    return None if math.isnan(mean) else mean


def _decode(dream: Dream, tokens: Tensor) -> Tensor:
    """Tokens (F, N) -> frames uint8 (F, H, W, 3)."""
    return torch.cat([to_uint8(dream.tokenizer.decode(part)) for part in tokens.split(CHUNK)])


@torch.inference_mode()
def wholeness(frames: Tensor, real: Tensor) -> Wholeness:
    """How much frames look like real ones: both uint8 (F, H, W, 3), on one device, drawn by the same tokenizer."""
    bank = windows(real).flatten(0, 1)
    bank = bank[_shows_something(bank)]
    seen = windows(frames)
    something = _shows_something(seen)
    error = torch.full(something.shape, torch.nan, device=seen.device)
    error[something] = torch.cat([_nearest(part, bank) for part in seen[something].split(CHUNK)])
    psnr = -10 * error.clamp(min=1e-10).log10()
    return Wholeness(psnr.nanmean(1), something.float().mean(1))


def windows(frames: Tensor) -> Tensor:
    """Frames uint8 (F, H, W, 3) -> their overlapping windows, shrunk and flat: (F, windows, values) in [0, 1]."""
    small = adaptive_avg_pool2d(to_float(frames, frames.device), SIDE)
    return rearrange(unfold(small, WINDOW, stride=STRIDE), "f v w -> f w v")


def _shows_something(windows: Tensor) -> Tensor:
    return windows.std(-1) > SOMETHING


def _nearest(windows: Tensor, bank: Tensor) -> Tensor:
    """Mean squared error of each window to the nearest of the bank."""
    return torch.cdist(windows, bank).min(1).values.square() / bank.shape[1]
