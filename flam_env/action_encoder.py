"""From real actions to latent ones: the way back of the action decoder."""

import torch
from torch import Tensor, nn

from flam_env.units import BOUND


class ActionEncoder(nn.Module):
    """Tells which latent action of a slot stands for a real action, in the state that the slot is in.

    What a latent action does depends on the slot, e.g. on how fast it moves already, so there is no table of them. The
    network gives the mean of what was seen, which says little where labels say little; `encode` goes further in the
    direction in which the action that is asked for differs from all others.

    Attributes:
        gain: scalar, how much further.
        stands_for: int64 (C,), the real action that stands for all those of equal effect.
        known: bool (C,), False for real actions of which no label told anything.
    """

    gain: Tensor
    stands_for: Tensor
    known: Tensor

    def __init__(self, *, slot_dim: int, latent_dim: int, actions: int, width: int, dropout: float):
        super().__init__()
        self.norm = nn.LayerNorm(slot_dim)
        self.from_slot = nn.Linear(slot_dim, width)
        self.action_embedding = nn.Embedding(actions, width)
        self.output = nn.Sequential(nn.GELU(), nn.Dropout(dropout), nn.Linear(width, latent_dim))
        self.register_buffer("gain", torch.ones(()))
        self.register_buffer("stands_for", torch.arange(actions))
        self.register_buffer("known", torch.zeros(actions, dtype=torch.bool))

    @property
    def choices(self) -> Tensor:
        """The known real actions that differ in effect, ascending, int64 (R,)."""
        return self.stands_for[self.known].unique()

    def forward(self, slots: Tensor, actions: Tensor) -> Tensor:
        """Slots (..., S) and real actions int64 (...) -> the mean latent action (..., A) in action units."""
        return self.output(self.from_slot(self.norm(slots)) + self.action_embedding(self.stands_for[actions]))

    def encode(self, slots: Tensor, actions: Tensor) -> Tensor:
        """Slots (..., S) and real actions int64 (...) -> latent actions (..., A) in [-3, 3], zero for unknown ones."""
        choices = self.choices
        everyone = slots[..., None, :].expand(*slots.shape[:-1], len(choices), -1)
        usual = self(everyone, choices.expand(everyone.shape[:-1])).mean(-2)
        chosen = usual + self.gain * (self(slots, actions) - usual)
        return chosen.clamp(-BOUND, BOUND).masked_fill(~self.known[actions][..., None], 0.0)
