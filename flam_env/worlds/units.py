"""The units of latent actions outside the networks.

Dimensions that carry nothing are left out, and each remaining one is divided by its spread over the training data:
its standard deviation, or more where its tails are heavy, so that a box of +-3 holds nearly all actions.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

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


def clip_to_box(actions: Tensor) -> Tensor:
    """Actions in units, inside the box that users act in; codes as they are."""
    return actions.clamp(-BOUND, BOUND) if actions.is_floating_point() else actions


class UnitConversion(nn.Module):
    """Latent actions into action units and back, on the device that it is moved to.

    Args:
        units: None where actions are codes, which are the same inside and outside.
    """

    kept: Tensor
    scale: Tensor

    def __init__(self, units: ActionUnits | None):
        super().__init__()
        self.units = units
        if units is not None:
            self.register_buffer("kept", torch.tensor(units.kept), persistent=False)
            self.register_buffer("scale", torch.tensor(units.scale), persistent=False)

    def to_model(self, actions: Tensor) -> Tensor:
        """Actions (..., A) in units -> latent actions (..., latent_dim); left-out dimensions rest at 0."""
        if self.units is None:
            return actions
        inside = actions.new_zeros(*actions.shape[:-1], self.units.latent_dim)
        return inside.index_copy(-1, self.kept, actions * self.scale)

    def from_model(self, latent_actions: Tensor) -> Tensor:
        """Latent actions (..., latent_dim) -> actions (..., A) in units."""
        return latent_actions if self.units is None else latent_actions[..., self.kept] / self.scale
