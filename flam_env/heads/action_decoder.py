"""From latent actions to real ones: a small network that also finds out which slot the player is (paper 4.3, C.3)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from einops import einsum
from torch import Tensor, nn

from flam_env.heads.action_encoder import ActionEncoderConfig
from flam_env.heads.registry import HEADS


@dataclass(frozen=True, kw_only=True)
class ActionDecoderConfig(ActionEncoderConfig):
    """Sizes of an action decoder: those of the way back, and the number of slots; errors as there."""

    slots: int
    """K, number of slots."""


class Decoded(NamedTuple):
    """logits: (B, C) over real actions; attention: (B, K), how much each slot is the player, summing to 1."""

    logits: Tensor
    attention: Tensor


@HEADS.register(ActionDecoderConfig)
class ActionDecoder(nn.Module):
    """Pools slots, how they change and their latent actions with one learned query, and reads the real action from it.

    The latent action alone holds as much of a change as was worth its price to the world, so that few labels say more
    of the change itself. No slot has a place of its own: permuted slots give the same logits and permuted attention.

    Attributes:
        temperature: scalar that the logits are divided by, so that probabilities are as often right as they say.
        controlled_slot: int64 scalar, the slot that gets most attention on the whole.
    """

    temperature: Tensor
    controlled_slot: Tensor

    def __init__(self, config: ActionDecoderConfig):
        super().__init__()
        self.config = config
        self.norm = nn.LayerNorm(config.slot_dim)
        drop, sees = nn.Dropout(config.dropout), 2 * config.slot_dim + config.latent_dim
        self.read = nn.Sequential(drop, nn.Linear(sees, config.width), nn.GELU(), drop)
        self.key = nn.Linear(config.width, 1)
        self.value = nn.Linear(config.width, config.width)
        self.head = nn.Sequential(nn.GELU(), drop, nn.Linear(config.width, config.actions))
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("controlled_slot", torch.zeros((), dtype=torch.long))

    def forward(self, slots: Tensor, latent_actions: Tensor) -> Decoded:
        """What was done between two frames.

        Args:
            slots: of the frame before and of the one after, (B, 2, K, S).
            latent_actions: between them, (B, K, A), in action units.
        """
        before, after = slots.float().unbind(1)
        seen = self.read(torch.cat([self.norm(before), after - before, latent_actions], -1))
        attention = self.key(seen)[..., 0].float().softmax(-1)
        pooled = einsum(attention, self.value(seen).float(), "b k, b k w -> b w")
        return Decoded(self.head(pooled).float() / self.temperature, attention)

    def probabilities(self, slots: Tensor, latent_actions: Tensor) -> Tensor:
        """Calibrated probabilities float32 (..., C) of slots (..., 2, K, S) and latent actions (..., K, A).

        They are NaN where a latent action is.
        """
        leading = slots.shape[:-3]
        logits = self(slots.flatten(0, -4), latent_actions.flatten(0, -3)).logits
        return logits.softmax(-1).unflatten(0, leading)
