"""From real actions to latent ones: the way back of the action decoder."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from flam_env.heads.registry import HEADS
from flam_env.validation import check_fields
from flam_env.worlds.units import BOUND


@dataclass(frozen=True, kw_only=True)
class ActionEncoderConfig:
    """Sizes of an action encoder; all but width and dropout are its world's and its game's.

    Raises:
        ValueError: a field of another type, a size below 1, or a dropout outside [0, 1).
    """

    slot_dim: int
    """S, dimension of a slot."""
    latent_dim: int
    """A, dimension of a slot's latent action in action units."""
    actions: int
    """C, number of real actions."""
    width: int = 128
    """Width of the layers."""
    dropout: float = 0.3
    """Share of what a layer sees that is left out in training; labels are few."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"expected dropout in [0, 1), got {self.dropout}")


@HEADS.register(ActionEncoderConfig)
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

    def __init__(self, config: ActionEncoderConfig):
        super().__init__()
        self.config = config
        self.norm = nn.LayerNorm(config.slot_dim)
        self.from_slot = nn.Linear(config.slot_dim, config.width)
        self.action_embedding = nn.Embedding(config.actions, config.width)
        self.output = nn.Sequential(nn.GELU(), nn.Dropout(config.dropout), nn.Linear(config.width, config.latent_dim))
        self.register_buffer("gain", torch.ones(()))
        self.register_buffer("stands_for", torch.arange(config.actions))
        self.register_buffer("known", torch.zeros(config.actions, dtype=torch.bool))

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
