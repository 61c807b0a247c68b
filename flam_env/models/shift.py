"""Images that are shifted at random, so that few of them are more."""

import torch
from torch import Tensor
from torch.nn.functional import pad


def shifted(images: Tensor, most: int) -> Tensor:
    """Each of the images (B, C, H, W) shifted by up to so many pixels in both directions; borders are repeated."""
    count, channels, height, width = images.shape
    down, right = torch.randint(2 * most + 1, (count, 2), device=images.device).unbind(1)
    rows = down[:, None] + torch.arange(height, device=images.device)
    columns = right[:, None] + torch.arange(width, device=images.device)
    padded = pad(images, (most,) * 4, mode="replicate")
    shifted_down = padded.gather(2, rows[:, None, :, None].expand(-1, channels, -1, padded.shape[3]))
    return shifted_down.gather(3, columns[:, None, None].expand(-1, channels, height, -1))
