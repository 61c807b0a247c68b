"""What labels alone are worth: a model that sees two frames and tells the real action between them (paper 4.3)."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from flam_env.models.shift import shifted
from flam_env.validation import check_fields
from flam_env.video.frames import to_float

DIFFERENCE_SCALE = 4.0
"""What moves differs little from what was there."""


@dataclass(frozen=True, kw_only=True)
class SupervisedInverseConfig:
    """Sizes of a directly supervised inverse model.

    Raises:
        ValueError: a field of another type, a size below 1, frames whose size is no multiple of 16, or a dropout
            outside [0, 1).
    """

    size: int
    """Height and width of the frames."""
    actions: int
    """C, number of real actions."""
    width: int = 64
    """Channels of the convolutions but the first, which has half of them."""
    shift: int = 4
    """Pixels by which both frames are shifted alike in training, at most: labels are few."""
    dropout: float = 0.3
    """Share of what a layer sees that is left out in training."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.size % 16 or not 0 <= self.dropout < 1:
            raise ValueError(f"expected a size that is a multiple of 16 and dropout in [0, 1), got {self}")


class SupervisedInverse(nn.Module):
    """Convolutions over a frame and its difference to the next one; it knows neither slots nor latent actions.

    Attributes:
        temperature: scalar that the logits are divided by, as in an action decoder.
    """

    temperature: Tensor

    def __init__(self, config: SupervisedInverseConfig):
        super().__init__()
        self.config = config
        self.register_buffer("temperature", torch.ones(()))
        width, cells = config.width, (config.size // 16) ** 2
        layers: list[nn.Module] = []
        for before, after in pairwise((6, width // 2, width, width, width)):
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.GELU()]
        self.layers = nn.Sequential(
            *layers,
            nn.Flatten(),
            nn.Dropout(config.dropout),
            nn.Linear(width * cells, 4 * width),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(4 * width, config.actions),
        )

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        """uint8 (B, H, W, 3) of a frame and of the next one -> logits (B, C) over the real action that was taken."""
        first, second = to_float(before, before.device), to_float(after, after.device)
        both = torch.cat([first - 0.5, DIFFERENCE_SCALE * (second - first)], 1)
        if self.training:
            both = shifted(both, self.config.shift)
        return self.layers(both) / self.temperature
