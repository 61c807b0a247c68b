"""What labels alone are worth: a model that sees two frames and tells the real action between them (paper 4.3)."""

from dataclasses import dataclass

import torch
from einops import einsum, rearrange
from torch import Tensor, nn
from torch.nn.functional import pad

from flam_env.frames import to_float
from flam_env.validation import check_fields


@dataclass(frozen=True, kw_only=True)
class SupervisedInverseConfig:
    """Sizes of a directly supervised inverse model.

    Raises:
        ValueError: a field of another type, a size below 1, or a dropout outside [0, 1).
    """

    actions: int
    """C, number of real actions."""
    width: int = 64
    """Channels of the convolutions."""
    shift: int = 4
    """Pixels by which both frames are shifted alike in training, at most, against having few labels."""
    dropout: float = 0.3
    """Share of what a layer sees that is left out in training."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"expected dropout in [0, 1), got {self.dropout}")


class SupervisedInverse(nn.Module):
    """Convolutions over a frame and its difference to the next, pooled over all places with one learned query.

    Places are pooled as an action decoder pools slots. It knows neither slots nor latent actions.

    Attributes:
        temperature: scalar that the logits are divided by, as in an action decoder.
    """

    temperature: Tensor

    def __init__(self, config: SupervisedInverseConfig):
        super().__init__()
        self.config = config
        self.register_buffer("temperature", torch.ones(()))
        width, drop = config.width, nn.Dropout(config.dropout)
        self.see = nn.Sequential(
            nn.Conv2d(6, width // 2, 4, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(width // 2, width, 4, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GELU(),
        )
        self.read = nn.Sequential(drop, nn.Linear(width, 2 * width), nn.GELU(), drop)
        self.key = nn.Linear(2 * width, 1)
        self.value = nn.Linear(2 * width, 2 * width)
        self.head = nn.Sequential(nn.GELU(), drop, nn.Linear(2 * width, config.actions))

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        """uint8 (B, H, W, 3) of a frame and of the next one -> logits (B, C) over the real action that was taken."""
        first, second = to_float(before, before.device), to_float(after, after.device)
        both = torch.cat([first - 0.5, second - first], 1)
        if self.training:
            both = _shifted(both, self.config.shift)
        seen = self.read(rearrange(self.see(both), "b d h w -> b (h w) d"))
        attention = self.key(seen)[..., 0].float().softmax(-1)
        pooled = einsum(attention, self.value(seen).float(), "b n, b n d -> b d")
        return self.head(pooled).float() / self.temperature


def _shifted(images: Tensor, most: int) -> Tensor:
    """Each of the images (B, C, H, W) shifted by up to so many pixels in both directions; borders are repeated."""
    height, width = images.shape[-2:]
    starts = torch.randint(2 * most + 1, (len(images), 2)).tolist()
    padded = pad(images, (most,) * 4, mode="replicate")
    return torch.stack([image[:, y : y + height, x : x + width] for image, (y, x) in zip(padded, starts, strict=True)])
