"""Inverse and forward dynamics, one of each for all slots (paper 4.2, equations 4 and 5).

Both keep two streams. The context stream sees all current slots and mixes them. The private stream of slot i holds
what belongs to i alone, its next value or its action, and reads the context of slot i only. With one residual stream
the mixing of the second layer would carry slot j's action into slot i.

The paper's ablation, Global-Coupled FLAM (C.4), gives this up: what is private is then seen by all slots.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from flam_env.models.layers import CoupledAttention, FeedForward, PairAttention, SelfAttention


class FactoredDynamics(nn.Module):
    """`layers` of spatial self-attention on the context stream and pair attention on the private stream.

    If `coupled`, the second stream is not private: its tokens attend to all tokens of both streams.
    """

    def __init__(self, dim: int, heads: int, layers: int, feed_forward: int, coupled: bool = False):
        super().__init__()
        attention = CoupledAttention if coupled else PairAttention
        self.spatial = nn.ModuleList(SelfAttention(dim, heads) for _ in range(layers))
        self.spatial_feed_forward = nn.ModuleList(FeedForward(dim, feed_forward) for _ in range(layers))
        self.private = nn.ModuleList(attention(dim, heads) for _ in range(layers))
        self.private_feed_forward = nn.ModuleList(FeedForward(dim, feed_forward) for _ in range(layers))

    def forward(self, context: Tensor, private: Tensor) -> Tensor:
        """Context (B, K, S) and private stream (B, K, S) -> private stream (B, K, S)."""
        blocks = zip(self.spatial, self.spatial_feed_forward, self.private, self.private_feed_forward, strict=True)
        for spatial, spatial_feed_forward, attend, feed_forward in blocks:
            context = context + spatial(context)
            context = context + spatial_feed_forward(context)
            private = private + attend(private, context)
            private = private + feed_forward(private)
        return private


class LatentActions(NamedTuple):
    """The posterior of every slot's latent action: mean and log variance, both (B, K, A) or (B, T, K, A) float32."""

    mean: Tensor
    log_variance: Tensor

    @property
    def mode(self) -> Tensor:
        """The most likely actions, their means."""
        return self.mean

    @property
    def kl(self) -> Tensor:
        """KL from the unit normal prior in nats, of every dimension of every action (B, K, A)."""
        return 0.5 * (self.mean.square() + self.log_variance.exp() - 1 - self.log_variance)

    @property
    def nats(self) -> Tensor:
        """KL from the unit normal prior, of every slot (B, K)."""
        return self.kl.sum(-1)

    def sample(self) -> Tensor:
        """A reparametrised sample (B, K, A)."""
        return self.mean + torch.randn_like(self.mean) * (0.5 * self.log_variance).exp()


class InverseDynamics(nn.Module):
    """Infers slot i's latent action from all current slots and slot i's next value (equation 4); all, if coupled.

    With `difference` the private stream starts from how slot i changes rather than from its next value.
    """

    def __init__(
        self,
        *,
        dim: int,
        heads: int,
        layers: int,
        feed_forward: int,
        latent_dim: int,
        coupled: bool = False,
        difference: bool = False,
    ):
        super().__init__()
        self.difference = difference
        self.next_slot = nn.Linear(dim, dim)
        self.dynamics = FactoredDynamics(dim, heads, layers, feed_forward, coupled)
        self.norm = nn.LayerNorm(dim)
        self.mean = nn.Linear(dim, latent_dim)
        self.log_variance = nn.Linear(dim, latent_dim)
        # A narrow posterior at the start lets information through before the KL can close the channel.
        nn.init.zeros_(self.log_variance.weight)
        nn.init.constant_(self.log_variance.bias, -4.0)

    def forward(self, slots: Tensor, next_slots: Tensor) -> LatentActions:
        """Slots (B, K, S) of frames t and t + 1 -> the action that leads from t to t + 1."""
        seen = next_slots - slots if self.difference else next_slots
        hidden = self.norm(self.dynamics(slots, self.next_slot(seen)))
        return LatentActions(self.mean(hidden).float(), self.log_variance(hidden).float().clamp(-10, 10))


class ForwardDynamics(nn.Module):
    """Predicts slot i's next value from all current slots and slot i's latent action (equation 5); all, if coupled."""

    def __init__(self, *, dim: int, heads: int, layers: int, feed_forward: int, latent_dim: int, coupled: bool = False):
        super().__init__()
        self.action = nn.Linear(latent_dim, dim)
        self.dynamics = FactoredDynamics(dim, heads, layers, feed_forward, coupled)

    def forward(self, slots: Tensor, actions: Tensor) -> Tensor:
        """Slots (B, K, S) and latent actions (B, K, A) -> predicted slots (B, K, S)."""
        return self.dynamics(slots, slots + self.action(actions))
