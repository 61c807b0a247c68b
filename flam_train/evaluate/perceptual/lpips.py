"""LPIPS-Alex v0.1, how far apart two pictures are to AlexNet (Zhang et al. 2018, arxiv.org/abs/1801.03924).

Pictures are taken at their own resolution: nothing is resized. Both pass AlexNet up to its fifth ReLU. After each ReLU
the features of every place are scaled to length 1, the weighted sum of their squared differences is averaged over the
places, and the five averages are added.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

SMALLEST = 31
"""Pixels along a side; of less, nothing is left after the second pooling."""

WIDTHS = (64, 192, 384, 256, 256)
"""Channels after each ReLU."""


class Lpips(nn.Module):
    """The network and the weights of its five differences; the names are those of torchvision and of `lpips`."""

    shift: Tensor
    scale: Tensor

    def __init__(self):
        super().__init__()
        one, two, three, four, five = WIDTHS
        self.features = nn.Sequential(
            *(nn.Conv2d(3, one, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(one, two, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(two, three, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(three, four, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(four, five, 3, padding=1), nn.ReLU()),
        )
        for layer, width in enumerate(WIDTHS):
            self.add_module(f"lin{layer}", nn.Conv2d(width, 1, 1, bias=False))
        self.register_buffer("shift", torch.tensor((-0.030, -0.088, -0.188))[:, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor((0.458, 0.448, 0.450))[:, None, None], persistent=False)

    def forward(self, predicted: Tensor, true: Tensor) -> Tensor:
        """The distance of each picture from its like: both RGB (B, 3, H, W) in [0, 1] -> (B,), 0 for equal ones.

        Raises:
            ValueError: the pictures are smaller than 31 px.
        """
        if min(true.shape[-2:]) < SMALLEST:
            size = " x ".join(map(str, true.shape[-2:]))
            raise ValueError(f"LPIPS: expected pictures of at least {SMALLEST} x {SMALLEST} px, got {size}")
        layers = zip(self._seen(predicted), self._seen(true), strict=True)
        differences = (
            self.get_submodule(f"lin{layer}")((one - other).square()) for layer, (one, other) in enumerate(layers)
        )
        return torch.stack([difference.mean((1, 2, 3)) for difference in differences]).sum(0)

    def _seen(self, pictures: Tensor) -> Iterator[Tensor]:
        """Features of length 1 after each ReLU: (B, C, h, w), five times."""
        seen = (2 * pictures - 1 - self.shift) / self.scale
        for layer in self.features:
            seen = layer(seen)
            if isinstance(layer, nn.ReLU):
                yield seen / (seen.square().sum(1, keepdim=True).sqrt() + 1e-10)


@torch.inference_mode()
def black_to_white(lpips: Lpips) -> float:
    """The distance of black from white at 64 x 64 px, which is known."""
    black = torch.zeros(1, 3, 64, 64)
    return lpips(black, black + 1).item()
