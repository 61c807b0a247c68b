"""Codes for latent actions: vector quantisation whose codes are means of what chose them (van den Oord et al. 2017)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from flam_env.models.protocol import Posterior

DECAY = 0.95  # share of what a code was that is left after a step in which it could be chosen
PATIENCE = 50  # steps, of those in which it could be chosen, after which a code that nothing chose begins anew
ROUNDS = 16  # steps in which all codes of a book can begin anew, so that each sees where those before went
RARE = 1e-3  # of the mean use, what a code counts for that was never chosen


class Codes(NamedTuple):
    """A posterior over codes that is certain of one.

    code: int64 (B, T, K); vectors: (B, T, K, A), what the forward model sees of them, through which gradients pass to
    what was quantised; distance: (B, T, K), squared, of that from its code; codes: how many there are.
    """

    code: Tensor
    vectors: Tensor
    distance: Tensor
    codes: int

    @property
    def mode(self) -> Tensor:
        """The codes (B, T, K)."""
        return self.code

    @property
    def nats(self) -> Tensor:
        """What it takes to name one of all codes, used or not, float32 (B, T, K)."""
        return torch.full_like(self.distance, math.log(self.codes))

    def sample(self) -> Tensor:
        """There is one that it can be."""
        return self.code


class UsedCodes(NamedTuple):
    """The prior of a book whose codes are not used alike.

    shares: (C,), of all uses, summing to 1. The mean nats of posteriors to it are the entropy of the codes used.
    """

    shares: Tensor
    noise: int = 1

    def draw(self, noise: Tensor) -> Tensor:
        """Standard normal numbers (B, T, K, 1) -> codes (B, T, K)."""
        place = torch.special.ndtr(noise[..., 0].double())
        return torch.searchsorted(self.shares.double().cumsum(0), place).clamp(max=len(self.shares) - 1)

    def nats(self, posterior: Posterior) -> Tensor:
        """What it takes to name the codes of a posterior (B, T, K)."""
        return -self.shares.log()[posterior.mode]


class Codebook(nn.Module):
    """C codes on the unit sphere; what is quantised is put there too, and the nearest code taken (as in Genie's kin).

    In training every code follows the mean of what chose it, and one that nothing chose for a while begins anew where
    something is that is far from all others (k-means++, Arthur and Vassilvitskii 2007): put anywhere, most would share
    what another has already. While what is quantised passes as it is, all begin anew again and again, so the book
    starts with what there is then. Codes are parameters, though their gradient is zero: so they are averaged over
    training as the network is that chooses them, and the two fit each other.

    Args:
        codes: C.
        dim: A.

    Attributes:
        free: whether, in training, what is quantised passes as it is while codes already follow it.
    """

    free = False
    usage: Tensor
    unused: Tensor

    def __init__(self, codes: int, dim: int):
        super().__init__()
        self.radius = dim**0.5
        self.code_embedding = nn.Parameter(torch.randn(codes, dim))
        self.register_buffer("usage", torch.zeros(codes))  # running mean of how often it is chosen, 1 if as all others
        self.register_buffer("unused", torch.full((codes,), PATIENCE + 1.0))

    @property
    def vectors(self) -> Tensor:
        """The codes as unit vectors, (C, A)."""
        return normalize(self.code_embedding.detach(), dim=-1)

    @property
    def shares(self) -> Tensor:
        """How often each code is used, (C,), summing to 1; none is impossible."""
        return (self.usage + RARE) / (self.usage + RARE).sum()

    def forward(self, x: Tensor) -> Codes:
        """Anything (B, T, K, A) -> the nearest codes; always in float32."""
        x = normalize(x.float(), dim=-1)
        if self.training:
            self._revive(x.detach().flatten(0, -2))
        vectors = self.vectors
        with torch.autocast(x.device.type, enabled=False):
            chosen = (x.detach() @ vectors.T).argmax(-1)
        code = vectors[chosen] + 0 * self.code_embedding.sum()
        if self.training:
            self._follow(x.detach().flatten(0, -2), chosen.flatten())
        passed = x if self.training and self.free else x + (code - x).detach()
        return Codes(chosen, passed * self.radius, (x - code).square().sum(-1), len(vectors))

    def look_up(self, codes: Tensor) -> Tensor:
        """Codes (...) -> their vectors as the forward model sees them, (..., A)."""
        return self.vectors[codes] * self.radius

    @torch.no_grad()
    def _revive(self, x: Tensor) -> None:
        """Puts codes that nothing chose for a while onto vectors (M, A) of this step, as likely as they are far.

        As likely as the fourth power of the distance from the nearest code that stays, twice that of k-means++, says:
        that prefers what is far from all. Without replacement, by the shortest of exponential waiting times.
        """
        patience = PATIENCE / self._chance(x)
        unused, oldest = self.unused.topk(min(-(-len(self.unused) // ROUNDS), len(x)))
        anew = unused > (-1 if self.free else patience)
        alive = self.unused <= patience
        alive[oldest] &= ~anew
        nearest = (x @ self.vectors.T).masked_fill(~alive, -1).amax(1)
        waiting = torch.empty_like(nearest).exponential_() / (1 - nearest).square().clamp(min=1e-9)
        drawn = x[waiting.topk(len(oldest), largest=False).indices]
        self.code_embedding[oldest] = torch.where(anew[:, None], drawn, self.code_embedding[oldest])
        self.unused[oldest] = unused.masked_fill(anew, 0)

    @torch.no_grad()
    def _follow(self, x: Tensor, chosen: Tensor) -> None:
        """Moves the codes to the running means of the vectors (M, A) that chose them, int64 (M,)."""
        per_code, decay = len(self.usage) / len(x), DECAY ** self._chance(x)
        counts = torch.zeros_like(self.usage).index_add_(0, chosen, torch.ones_like(x[:, 0])) * per_code
        sums = torch.zeros_like(self.code_embedding).index_add_(0, chosen, x) * per_code
        means = normalize((decay * self.usage)[:, None] * self.vectors + (1 - decay) * sums, dim=-1)
        self.code_embedding.copy_(torch.where((counts > 0)[:, None], means, self.code_embedding))
        self.usage.lerp_(counts, 1 - decay)
        self.unused.copy_(torch.where((counts > 0) & (not self.free), 0.0, self.unused + 1))

    def _chance(self, x: Tensor) -> float:
        """Vectors (M, A) of a step for each code, at most 1."""
        return min(1.0, len(x) / len(self.usage))


def codes_in_use(shares: Tensor) -> Tensor:
    """How many codes, all used alike, tell as much as those of some shares (C,): exp of the entropy."""
    return torch.special.entr(shares).sum().exp()
