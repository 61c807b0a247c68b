"""The units of latent actions outside the networks.

Dimensions that carry nothing are left out, and each remaining one is divided by its spread over the training data:
its standard deviation, or more where its tails are heavy, so that a box of +-3 holds nearly all actions.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from flam_env.validation import check_fields

BOUND = 3.0


@dataclass(frozen=True, kw_only=True)
class ActionUnits:
    """Which dimensions of the networks' latent actions are used, and the spread of each.

    Raises:
        ValueError: dimensions that are none of the networks', or a spread that is not one positive number for each.
    """

    latent_dim: int
    """Latent dimensions inside the networks."""
    kept: tuple[int, ...]
    """Indices of the dimensions that carry information, ascending."""
    scale: tuple[float, ...]
    """Spread of each kept dimension over the training data."""

    def __post_init__(self) -> None:
        check_fields(self)
        kept, scale = self.kept, self.scale
        if not kept or kept != tuple(sorted(set(kept))) or kept[0] < 0 or kept[-1] >= self.latent_dim:
            raise ValueError(f"expected kept to be ascending indices in [0, {self.latent_dim - 1}], got {kept}")
        if len(scale) != len(kept) or not all(0 < spread < math.inf for spread in scale):
            raise ValueError(f"expected scale to be {len(kept)} positive numbers, one for each kept, got {scale}")

    @property
    def dim(self) -> int:
        """A as users see it."""
        return len(self.kept)

    def to_model(self, actions: Tensor) -> Tensor:
        """Actions (..., len(kept)) in units -> latent actions (..., latent_dim); left-out dimensions rest at 0."""
        inside = actions.new_zeros(*actions.shape[:-1], self.latent_dim)
        inside[..., list(self.kept)] = actions * self._scale(actions)
        return inside

    def from_model(self, latent_actions: Tensor) -> Tensor:
        """Latent actions (..., latent_dim) -> actions (..., len(kept)) in units."""
        return latent_actions[..., list(self.kept)] / self._scale(latent_actions)

    def _scale(self, like: Tensor) -> Tensor:
        return torch.tensor(self.scale, device=like.device, dtype=like.dtype)
