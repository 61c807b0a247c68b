"""A learned prior of latent actions: what each slot is likely to do in a state (not in the paper).

The prior of no knowledge charges for what the state foretells, and draws in every state alike. This one is a mixture of
Gaussians for each slot, read off all slots of the frame, so that what happens rarely has a component of its own.
"""

from typing import Any, NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from flam_env.models.layers import FeedForward, SelfAttention

SPREAD = 0.5  # of the means of the components at the start


class MixturePrior(NamedTuple):
    """For each slot a mixture of M Gaussians of independent numbers.

    log_shares: (..., K, M), normalized; means, log_variances: (..., K, M, A); all float32.
    """

    log_shares: Tensor
    means: Tensor
    log_variances: Tensor

    @property
    def noise(self) -> int:
        """Of a draw: one number that chooses the component, A within it."""
        return self.means.shape[-1] + 1

    def draw(self, noise: Tensor) -> Tensor:
        """Standard normal numbers (..., K, 1 + A) -> actions (..., K, A)."""
        share, within = torch.special.ndtr(noise[..., :1]), noise[..., 1:]
        below = self.log_shares.exp().cumsum(-1) < share
        chosen = below.sum(-1).clamp(max=below.shape[-1] - 1)[..., None, None]
        mean, log_variance = (part.take_along_dim(chosen, -2)[..., 0, :] for part in self[1:])
        return mean + (0.5 * log_variance).exp() * within

    def nats(self, posterior: Any) -> Tensor:
        """KL of Gaussian posteriors (..., K, A) from this, of each slot (..., K).

        An upper bound in closed form, exact for one component: minus the logarithm of the mean, over components, of
        the exponential of minus the KL from each (Hershey & Olsen 2007).
        """
        mean, log_variance = posterior.mean[..., None, :], posterior.log_variance[..., None, :]
        narrower = log_variance - self.log_variances
        apart = (mean - self.means).square() * (-self.log_variances).exp()
        nats = 0.5 * (apart + narrower.exp() - 1 - narrower).sum(-1)
        return -torch.logsumexp(self.log_shares - nats, -1)

    def detach(self) -> "MixturePrior":
        """The same without gradient."""
        return MixturePrior(*(part.detach() for part in self))


class LearnedPrior(nn.Module):
    """Slots of a frame -> the mixture that the latent action of each is drawn from; every slot sees all."""

    def __init__(self, *, dim: int, heads: int, feed_forward: int, components: int, latent_dim: int):
        super().__init__()
        self.components = components
        self.attention = SelfAttention(dim, heads)
        self.feed_forward = FeedForward(dim, feed_forward)
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, components * (1 + 2 * latent_dim))
        with torch.no_grad():
            self.head.weight.mul_(0.1)
            shares, means, log_variances = self._split(self.head.bias)
            shares.zero_()
            means.normal_(std=SPREAD)
            log_variances.zero_()

    def forward(self, slots: Tensor) -> MixturePrior:
        """Slots (B, T, K, S) -> the prior in each frame."""
        flat = rearrange(slots, "b t k s -> (b t) k s")
        flat = flat + self.attention(flat)
        flat = flat + self.feed_forward(flat)
        numbers = rearrange(self.head(self.norm(flat)).float(), "(b t) k n -> b t k n", b=len(slots))
        shares, means, log_variances = self._split(numbers)
        return MixturePrior(shares.log_softmax(-1), means, log_variances.clamp(-10, 4))

    def _split(self, numbers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Numbers (..., M * (1 + 2 A)) -> (..., M), (..., M, A) twice."""
        each = numbers.unflatten(-1, (self.components, -1))
        latent_dim = each.shape[-1] // 2
        return each[..., 0], each[..., 1 : 1 + latent_dim], each[..., 1 + latent_dim :]
