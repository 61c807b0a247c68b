"""The latent actions that a world model can have: vectors, codes of a book, or none."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class ContinuousActions:
    """One vector for each slot: actions (..., K, A) float32; K = 1 where one action moves the whole scene."""

    slots: int
    dim: int
    inferred: bool = True
    """Whether the model infers them from video; else they are known actions that somebody gives."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the latent actions of one step."""
        return self.slots, self.dim

    @property
    def known(self) -> bool:
        """Whether the model takes actions that somebody knows."""
        return not self.inferred

    def prior(self) -> "UnitNormal":
        """That of no knowledge: every number is standard normal."""
        return UnitNormal(self.dim)

    def zeros(self, *leading: int, device: torch.device | str = "cpu") -> Tensor:
        """Actions that are all zero, (*leading, K, A)."""
        return torch.zeros(*leading, *self.shape, device=device)


@dataclass(frozen=True, kw_only=True)
class CodebookActions:
    """One of `codes` codes for each slot: actions (..., K) int64 in [0, codes)."""

    slots: int
    codes: int
    inferred: bool = True
    """Whether the model infers them from video; else they are known actions that somebody gives."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the latent actions of one step."""
        return (self.slots,)

    @property
    def known(self) -> bool:
        """Whether the model takes actions that somebody knows."""
        return not self.inferred

    def prior(self) -> "UniformCodes":
        """That of no knowledge: every code is as likely as any other."""
        return UniformCodes(self.codes)

    def zeros(self, *leading: int, device: torch.device | str = "cpu") -> Tensor:
        """Actions that are all the first code, (*leading, K)."""
        return torch.zeros(*leading, *self.shape, dtype=torch.long, device=device)


@dataclass(frozen=True, kw_only=True)
class NoActions(CodebookActions):
    """The trivial space of a model that predicts without actions: one code, "go on", which nothing reads."""

    slots: int = 1
    codes: int = 1
    inferred: bool = False

    @property
    def known(self) -> bool:
        """There is nothing to know."""
        return False


ActionSpace = ContinuousActions | CodebookActions


class UnitNormal(NamedTuple):
    """The standard normal prior of vectors; `noise` numbers for each slot."""

    noise: int

    def draw(self, noise: Tensor) -> Tensor:
        """Standard normal numbers (B, T, K, A) are draws already."""
        return noise

    def nats(self, posterior: Any) -> Tensor:
        """KL of a Gaussian posterior, of each slot (B, T, K)."""
        return posterior.nats


class UniformCodes(NamedTuple):
    """The uniform prior over codes."""

    codes: int
    noise: int = 1

    def draw(self, noise: Tensor) -> Tensor:
        """Standard normal numbers (B, T, K, 1) -> codes (B, T, K)."""
        share = torch.special.ndtr(noise[..., 0].double())
        return (share * self.codes).long().clamp(max=self.codes - 1)

    def nats(self, posterior: Any) -> Tensor:
        """KL of a posterior over codes, of each slot (B, T, K)."""
        return posterior.nats
