"""Do things stay whole in a long dream? Its pictures are compared, window by window, with real ones.

A window of 16 x 16 pixels that shows something is whole if some real window looks like it. A dream in which things
tear, smear or grow has windows that nothing real resembles; one in which they fade has fewer windows. The measure
knows nothing of what should happen: it complements pictures that a person looks at, it does not replace them.
"""

from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import avg_pool2d, unfold

from flam_env.dream import Dream
from flam_env.frames import to_float, to_uint8
from flam_train.evaluate.clips import Clips
from flam_train.evaluate.rollouts import roll, sampled_actions

WINDOW, STRIDE = 16, 4  # pixels
SHRUNK = 2  # windows are compared at half resolution
SOMETHING = 0.05  # smallest spread of a window's values, of 1, that shows something
CHUNK = 1024
DREAMT_STEPS = (1, 2, 4, 8, 16, 25, 50, 75, 100)


class Wholeness(NamedTuple):
    """Of F frames.

    nearest_psnr: (F,) mean over a frame's windows of the PSNR in dB to the nearest real window, NaN where a frame
    shows nothing; filled: (F,) share of a frame's windows that show something.
    """

    nearest_psnr: Tensor
    filled: Tensor


@torch.inference_mode()
def dream_scores(dream: Dream, clips: Clips, seed: int = 0) -> dict[str, list[float]]:
    """Long dreams from the clips' first frames under sampled actions, against the world's starts as real windows.

    Returns:
        `step` and, for each of these steps, the means of `Wholeness` over the dreams; then, for the last true frames
        of the clips, `real_nearest_psnr` and `real_filled` with one value: what dreams that stay whole would have.
    """
    random, context = torch.Generator().manual_seed(seed), dream.world.settings.context
    real = _decode(dream, dream.world.starts.tokens[:, ::2].flatten(0, 1).to(dream.device))
    held_out = wholeness(_decode(dream, dream.encode(clips.frames[:, -1])), real)
    start = dream.encode(clips.frames[:, :context].reshape(-1, *clips.frames.shape[2:])).unflatten(0, (-1, context))
    frames = roll(dream, start, sampled_actions(dream.world, clips.count, DREAMT_STEPS[-1], random))
    dreamt = [wholeness(frames[:, step - 1], real) for step in DREAMT_STEPS]
    return {
        "step": list(DREAMT_STEPS),
        "nearest_psnr": [of.nearest_psnr.nanmean().item() for of in dreamt],
        "filled": [of.filled.mean().item() for of in dreamt],
        "real_nearest_psnr": [held_out.nearest_psnr.nanmean().item()],
        "real_filled": [held_out.filled.mean().item()],
    }


def _decode(dream: Dream, tokens: Tensor) -> Tensor:
    """Tokens (F, N) -> frames uint8 (F, H, W, 3)."""
    return torch.cat([to_uint8(dream.tokenizer.decode(part)) for part in tokens.split(CHUNK)])


@torch.inference_mode()
def wholeness(frames: Tensor, real: Tensor) -> Wholeness:
    """How much frames look like real ones: both uint8 (F, H, W, 3), on one device, through the same tokenizer."""
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
    small = avg_pool2d(to_float(frames, frames.device), SHRUNK)
    return rearrange(unfold(small, WINDOW // SHRUNK, stride=STRIDE // SHRUNK), "f v w -> f w v")


def _shows_something(windows: Tensor) -> Tensor:
    return windows.std(-1) > SOMETHING


def _nearest(windows: Tensor, bank: Tensor) -> Tensor:
    """Mean squared error of each window to the nearest of the bank."""
    return torch.cdist(windows, bank).min(1).values.square() / bank.shape[1]
