"""The pretrained encoder of the paper (4.1, equation 1): frames to FSQ tokens and back."""

import math
from dataclasses import dataclass
from typing import Literal

from einops import rearrange
from torch import Tensor, nn

from flam_env.models.impala import impala_decoder, impala_encoder
from flam_env.models.magvit import magvit_decoder, magvit_encoder
from flam_env.models.patch import patch_decoder, patch_encoder
from flam_env.models.quantize import FSQ, check_levels
from flam_env.validation import check_fields


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """Sizes of a tokenizer.

    Raises:
        ValueError: a field of another type, a size below 1, an image that is not a whole number of patches, or a
            patch of an architecture that halves frames which is no power of two.
    """

    image_size: int = 64
    """Height and width of a frame in pixels."""
    patch_size: int = 4
    """Side of a patch in pixels; for `impala` and `magvit` a power of two."""
    architecture: Literal["impala", "patch", "magvit"] = "patch"
    """`impala`: the paper's CNN for games. `magvit`: its CNN for real video, without what that does over time. `patch`:
    an encoder of one patch's receptive field (no token churn)."""
    width: int = 64
    """Feature dimension D (paper, Table 5)."""
    blocks: int = 2
    """Residual blocks: of each stage for `impala` and `magvit`, in all for `patch`."""
    levels: tuple[int, ...] = (4, 4, 4, 4)
    """FSQ levels of each channel of a code."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_levels(self.levels)
        if self.image_size % self.patch_size:
            raise ValueError(f"expected image_size to be a multiple of patch_size, got {self}")
        if self.architecture != "patch" and (self.patch_size < 2 or self.patch_size.bit_count() > 1):
            kind = self.architecture.upper()
            raise ValueError(f"expected a power of two, at least 2, as patch_size of an {kind} tokenizer, got {self}")

    @property
    def grid(self) -> int:
        """Patches along one side of a frame."""
        return self.image_size // self.patch_size


class Tokenizer(nn.Module):
    """FSQ autoencoder: one token per patch."""

    def __init__(self, config: TokenizerConfig):
        super().__init__()
        self.config = config
        self.quantizer = FSQ(config.levels)
        self.encoder, self.decoder = _trunks(config)
        # Over channels at each position, not over H and W: statistics of a frame would make still patches churn.
        self.norm = nn.LayerNorm(config.width)
        self.to_code = nn.Linear(config.width, len(config.levels))
        self.from_code = nn.Linear(len(config.levels), config.width)

    def codes(self, frames: Tensor) -> Tensor:
        """Frames (B, 3, H, W) in [0, 1] -> codes (B, N, L) in [-1, 1], straight-through gradients."""
        return self.quantizer(self._unbounded_codes(frames))

    def decode_codes(self, codes: Tensor) -> Tensor:
        """Codes (B, N, L) -> frames (B, 3, H, W), not clamped."""
        features = rearrange(self.from_code(codes), "b (h w) d -> b d h w", h=self.config.grid)
        return self.decoder(features.contiguous()) + 0.5

    def encode(self, frames: Tensor) -> Tensor:
        """Frames (B, 3, H, W) in [0, 1] -> tokens (B, N) int64 in row-major order of the patches."""
        return self.quantizer.tokens(self.quantizer.bound(self._unbounded_codes(frames)))

    def decode(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N) -> frames (B, 3, H, W) clamped to [0, 1]."""
        return self.decode_codes(self.quantizer.codes(tokens)).clamp(0, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """The round trip of equation 1: frames (B, 3, H, W) -> reconstructions, not clamped."""
        return self.decode_codes(self.codes(frames))

    def _unbounded_codes(self, frames: Tensor) -> Tensor:
        features = rearrange(self.encoder(frames - 0.5), "b d h w -> b (h w) d")
        return self.to_code(self.norm(features))


def _trunks(config: TokenizerConfig) -> tuple[nn.Module, nn.Module]:
    if config.architecture == "patch":
        arguments = config.patch_size, config.width, config.blocks
        return patch_encoder(*arguments), patch_decoder(*arguments)
    stages = int(math.log2(config.patch_size))
    widths = tuple(max(config.width // 2**i, 16) for i in reversed(range(stages)))
    if config.architecture == "magvit":
        return magvit_encoder(widths, config.blocks), magvit_decoder(widths, config.blocks)
    return impala_encoder(widths, config.blocks), impala_decoder(widths, config.blocks)
