"""The patchwise encoder and decoder between pixels and patch features.

The encoder looks at one patch at a time, so a patch whose pixels stand still keeps its token.
"""

from einops.layers.torch import Rearrange
from torch import nn

from flam_env.models.impala import ResidualConv


def patch_encoder(patch: int, width: int, blocks: int = 2) -> nn.Sequential:
    """(B, 3, H, W) -> (B, width, H / patch, W / patch); each output sees its own patch only."""
    embed = nn.Conv2d(3, width, patch, stride=patch)
    return nn.Sequential(embed, *(ResidualConv(width, kernel=1) for _ in range(blocks)))


def patch_decoder(patch: int, width: int, blocks: int = 2) -> nn.Sequential:
    """(B, width, h, w) -> (B, 3, h patch, w patch); neighbouring patches inform each other."""
    return nn.Sequential(
        *(ResidualConv(width) for _ in range(blocks)),
        nn.GELU(),
        nn.Conv2d(width, 3 * patch * patch, 1),
        Rearrange("b (c p q) h w -> b c (h p) (w q)", p=patch, q=patch),
    )
