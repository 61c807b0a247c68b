"""The IMPALA encoder and decoder between pixels and patch features (paper, Table 5).

IMPALA is the residual CNN of Espeholt et al. 2018, one stage for each halving of the resolution.
"""

from torch import Tensor, nn


class ResidualConv(nn.Module):
    """Two activated convolutions with a residual connection."""

    def __init__(self, channels: int, kernel: int = 3, activation: type[nn.Module] = nn.GELU):
        super().__init__()
        self.body = nn.Sequential(
            activation(),
            nn.Conv2d(channels, channels, kernel, padding=kernel // 2),
            activation(),
            nn.Conv2d(channels, channels, kernel, padding=kernel // 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return x + self.body(x)


def impala_encoder(
    widths: tuple[int, ...], blocks: int = 2, *, channels: int = 3, activation: type[nn.Module] = nn.GELU
) -> nn.Sequential:
    """(B, channels, H, W) -> (B, widths[-1], H / 2^n, W / 2^n), n = number of widths."""
    layers: list[nn.Module] = []
    for before, width in zip((channels, *widths), widths, strict=False):
        layers += [nn.Conv2d(before, width, 3, padding=1), nn.MaxPool2d(3, stride=2, padding=1)]
        layers += [ResidualConv(width, activation=activation) for _ in range(blocks)]
    return nn.Sequential(*layers)


def impala_decoder(widths: tuple[int, ...], blocks: int = 2) -> nn.Sequential:
    """The encoder mirrored: (B, widths[-1], h, w) -> (B, 3, h 2^n, w 2^n)."""
    layers: list[nn.Module] = []
    mirrored = tuple(reversed(widths))
    for width, after in zip(mirrored, (*mirrored[1:], 3), strict=True):
        layers += [ResidualConv(width) for _ in range(blocks)]
        layers += [nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(width, after, 3, padding=1)]
    return nn.Sequential(*layers)
