"""The pretrained encoder of the paper (4.1, equation 1): frames to FSQ tokens and back."""

import math
from dataclasses import dataclass
from typing import Literal

from einops import rearrange
from torch import Tensor, nn

from flam_env.models.impala import impala_decoder, impala_encoder, patch_decoder, patch_encoder
from flam_env.models.quantize import FSQ


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """Sizes of a tokenizer."""

    image_size: int = 64
    """Height and width of a frame in pixels."""
    patch_size: int = 4
    """Side of a patch in pixels; for `impala` a power of two."""
    architecture: Literal["impala", "patch"] = "patch"
    """`impala`: the paper's CNN. `patch`: an encoder of one patch's receptive field (no token churn)."""
    width: int = 64
    """Feature dimension D (paper, Table 5)."""
    blocks: int = 2
    """Residual blocks: of each stage for `impala`, in all for `patch`."""
    levels: tuple[int, ...] = (4, 4, 4, 4)
    """FSQ levels of each channel of a code."""

    @property
    def grid(self) -> int:
        """Patches along one side of a frame."""
        return self.image_size // self.patch_size


class Tokenizer(nn.Module):
    """FSQ autoencoder: one token per patch.

    Raises:
        ValueError: the image is not a whole number of patches, or an IMPALA patch is not a power of two.
    """

    def __init__(self, config: TokenizerConfig):
        super().__init__()
        self.config = config
        if config.image_size % config.patch_size:
            raise ValueError(f"expected image_size to be a multiple of patch_size, got {config}")
        self.quantizer = FSQ(config.levels)
        self.encoder, self.decoder = _trunks(config)
        # Over channels at each position, never over H and W: statistics of a frame would make still patches churn.
        self.norm = nn.LayerNorm(config.width)
        self.to_code = nn.Linear(config.width, len(config.levels))
        self.from_code = nn.Linear(len(config.levels), config.width)

    def codes(self, frames: Tensor) -> Tensor:
        """Frames (B, 3, H, W) in [0, 1] -> codes (B, N, L) in [-1, 1], straight-through gradients."""
        features = rearrange(self.encoder(frames - 0.5), "b d h w -> b (h w) d")
        return self.quantizer(self.to_code(self.norm(features)))

    def decode_codes(self, codes: Tensor) -> Tensor:
        """Codes (B, N, L) -> frames (B, 3, H, W), not clamped."""
        features = rearrange(self.from_code(codes), "b (h w) d -> b d h w", h=self.config.grid)
        return self.decoder(features.contiguous()) + 0.5

    def encode(self, frames: Tensor) -> Tensor:
        """Frames (B, 3, H, W) in [0, 1] -> tokens (B, N) int64 in row-major order of the patches."""
        return self.quantizer.tokens(self.codes(frames))

    def decode(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N) -> frames (B, 3, H, W) clamped to [0, 1]."""
        return self.decode_codes(self.quantizer.codes(tokens)).clamp(0, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """The round trip of equation 1: frames (B, 3, H, W) -> reconstructions, not clamped."""
        return self.decode_codes(self.codes(frames))


def _trunks(config: TokenizerConfig) -> tuple[nn.Module, nn.Module]:
    if config.architecture == "patch":
        arguments = config.patch_size, config.width, config.blocks
        return patch_encoder(*arguments), patch_decoder(*arguments)
    stages = int(math.log2(config.patch_size))
    if 2**stages != config.patch_size:
        raise ValueError(f"expected a power of two as patch_size of an IMPALA tokenizer, got {config.patch_size}")
    widths = tuple(max(config.width // 2**i, 16) for i in reversed(range(stages)))
    return impala_encoder(widths, config.blocks), impala_decoder(widths, config.blocks)
