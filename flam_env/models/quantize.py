"""Finite scalar quantisation (Mentzer et al. 2023, arXiv:2309.15505; paper 4.1 and Table 5)."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

MOST_TOKENS = 2**16  # tokens are stored as uint16


class FSQ(nn.Module):
    """Rounds each channel of a code to one of a few levels, evenly spaced and symmetric in [-1, 1].

    With four levels these are -1, -1/3, 1/3, 1. A token is the mixed-radix index of a code. There are no
    parameters, and always float32 arithmetic.

    Args:
        levels: number of levels of each channel, e.g. (4, 4, 4, 4, 4) for 1024 tokens.
    """

    levels: Tensor
    basis: Tensor
    top: Tensor
    step_table: Tensor
    code_table: Tensor

    def __init__(self, levels: tuple[int, ...]):
        super().__init__()
        check_levels(levels)
        self.size, self.most_levels = math.prod(levels), max(levels)
        basis = [math.prod(levels[:i]) for i in range(len(levels))]
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        self.register_buffer("basis", torch.tensor(basis), persistent=False)
        self.register_buffer("top", self.levels - 1, persistent=False)
        # Integer division for every patch of every frame takes longer than looking its result up.
        steps = torch.arange(self.size)[:, None] // self.basis % self.levels
        self.register_buffer("step_table", steps, persistent=False)
        self.register_buffer("code_table", self._from_steps(steps.float()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Unbounded features (..., L) -> codes (..., L) in [-1, 1], with straight-through gradients."""
        bounded = self.bound(x)
        return bounded + (self.round(bounded) - bounded).detach()

    def bound(self, x: Tensor) -> Tensor:
        """Unbounded features (..., L) -> float32 (..., L) in [-1, 1], which `round` and `tokens` quantise."""
        return torch.tanh(x.float())

    def round(self, codes: Tensor) -> Tensor:
        """Anything (..., L) -> the nearest codes (..., L) in [-1, 1]."""
        return self._from_steps(self._to_steps(codes))

    def tokens(self, codes: Tensor) -> Tensor:
        """Codes, or anything near them, (..., L) -> tokens (...) int64 in [0, size)."""
        return self.join(self._to_steps(codes).long())

    def join(self, steps: Tensor) -> Tensor:
        """The index of the level of each channel (..., L) int64 -> tokens (...) int64; undoes `steps`."""
        return (steps * self.basis).sum(-1)

    def steps(self, tokens: Tensor) -> Tensor:
        """Tokens (...) -> the index of the level of each channel (..., L) int64."""
        return embedding(tokens.long(), self.step_table)

    def codes(self, tokens: Tensor) -> Tensor:
        """Tokens (...) in [0, size) -> codes (..., L) float32 in [-1, 1]."""
        return embedding(tokens.long(), self.code_table)

    def _to_steps(self, codes: Tensor) -> Tensor:
        # floor(x + 1/2) rather than round: ties go one way, so equal inputs a hair apart do not flip to even.
        return torch.floor((codes.float().clamp(-1, 1) + 1) / 2 * self.top + 0.5)

    def _from_steps(self, steps: Tensor) -> Tensor:
        return steps * 2 / self.top - 1


def check_levels(levels: tuple[int, ...]) -> None:
    """Raises ValueError unless a code has a channel, each channel at least two levels, and a token fits uint16."""
    if not levels or min(levels) < 2:
        raise ValueError(f"expected at least one channel of at least 2 levels, got levels={levels}")
    if (size := math.prod(levels)) > MOST_TOKENS:
        raise ValueError(
            f"expected at most {MOST_TOKENS} tokens, which fit uint16, got {size} of levels={levels}; "
            "give fewer channels or levels"
        )
