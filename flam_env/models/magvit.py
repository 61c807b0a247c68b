"""An encoder and a decoder between pixels and patch features in the style of MAGVIT-v2 (paper, Table 5, nuPlan).

MAGVIT-v2 (Yu et al. 2023, arXiv:2310.05737) is a tokenizer of video. Of it these are the residual blocks of group
normalisation and SiLU, downsampling by strided convolutions, and upsampling by moving channels into space. Left out are
the causal 3D convolutions, since the world model wants single frames and looks at time itself; quantisation without
look-up (LFQ) and its entropy terms, whose place FSQ takes, as in the paper; adaptive normalisation in the decoder; and
the adversarial and the perceptual loss, without which fine texture comes back blurred. Channels are halved with each
finer stage, where MAGVIT-v2 has 128 even at full resolution.
"""

import math

from einops.layers.torch import Rearrange
from torch import Tensor, nn

GROUPS = 8  # of channels that are normalised together, or fewer where these do not divide them


class NormedResidual(nn.Module):
    """Two convolutions, each of normalised and activated features, with a residual connection."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(*_normed_conv(channels, channels), *_normed_conv(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return x + self.body(x)


def magvit_encoder(widths: tuple[int, ...], blocks: int = 2) -> nn.Sequential:
    """(B, 3, H, W) -> (B, widths[-1], H / 2^n, W / 2^n), n = number of widths."""
    layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 3, padding=1)]
    for width, after in zip(widths, (*widths[1:], widths[-1]), strict=True):
        layers += [NormedResidual(width) for _ in range(blocks)]
        layers.append(nn.Conv2d(width, after, 3, stride=2, padding=1))
    layers += [NormedResidual(widths[-1]) for _ in range(blocks)]
    return nn.Sequential(*layers)


def magvit_decoder(widths: tuple[int, ...], blocks: int = 2) -> nn.Sequential:
    """The encoder mirrored: (B, widths[-1], h, w) -> (B, 3, h 2^n, w 2^n)."""
    layers: list[nn.Module] = [NormedResidual(widths[-1]) for _ in range(blocks)]
    for width, before in zip(reversed(widths), (widths[-1], *reversed(widths[1:])), strict=True):
        layers += [nn.Conv2d(before, 4 * width, 3, padding=1), Rearrange("b (c p q) h w -> b c (h p) (w q)", p=2, q=2)]
        layers += [NormedResidual(width) for _ in range(blocks)]
    return nn.Sequential(*layers, *_normed_conv(widths[0], 3))


def _normed_conv(before: int, after: int) -> tuple[nn.Module, ...]:
    norm = nn.GroupNorm(math.gcd(before, GROUPS), before)
    return norm, nn.SiLU(), nn.Conv2d(before, after, 3, padding=1)
