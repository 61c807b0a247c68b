"""What labels alone are worth: a model that sees two frames and tells the real action between them (paper 4.3)."""

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from flam_env.validation import check_fields


@dataclass(frozen=True, kw_only=True)
class SupervisedInverseConfig:
    """Sizes of a directly supervised inverse model.

    Raises:
        ValueError: a field of another type, a size below 1, a grid that is no multiple of 4, or a dropout outside
            [0, 1).
    """

    grid: int
    """Patches along one side of a frame."""
    tokens: int
    """Number of different tokens."""
    actions: int
    """C, number of real actions."""
    embedding: int = 24
    """Channels of a token."""
    width: int = 64
    """Channels of the convolutions."""
    dropout: float = 0.3
    """Share of what a layer sees that is left out in training."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.grid % 4 or not 0 <= self.dropout < 1:
            raise ValueError(f"expected a grid that is a multiple of 4 and dropout in [0, 1), got {self}")


class SupervisedInverse(nn.Module):
    """A small convolutional network on the tokens of two frames in a row; it knows neither slots nor latent actions.

    Attributes:
        temperature: scalar that the logits are divided by, as in an action decoder.
    """

    temperature: Tensor

    def __init__(self, config: SupervisedInverseConfig):
        super().__init__()
        self.config = config
        self.register_buffer("temperature", torch.ones(()))
        self.token_embedding = nn.Embedding(config.tokens, config.embedding)
        width, cells = config.width, (config.grid // 4) ** 2
        self.layers = nn.Sequential(
            nn.Conv2d(2 * config.embedding, width, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Flatten(),
            nn.Dropout(config.dropout),
            nn.Linear(width * cells, 2 * width),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(2 * width, config.actions),
        )

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        """Tokens (B, N) of a frame and of the next one -> logits (B, C) over the real action that was taken."""
        both = torch.cat([self.token_embedding(tokens.long()) for tokens in (before, after)], -1)
        return self.layers(rearrange(both, "b (h w) d -> b d h w", h=self.config.grid)) / self.temperature
