"""Which slots hold the player of a game, in the state that the slots are in."""

from dataclasses import dataclass

from torch import Tensor, nn

from flam_env.heads.registry import HEADS
from flam_env.validation import check_fields

HOLDS = 0.03
"""Share of the player from which on a slot holds a part of it."""


@dataclass(frozen=True, kw_only=True)
class PlayerFinderConfig:
    """Sizes of a player finder.

    Raises:
        ValueError: a field of another type, a size below 1, or a dropout outside [0, 1).
    """

    slot_dim: int
    """S, dimension of a slot."""
    width: int = 128
    """Width of the hidden layer."""
    dropout: float = 0.2
    """Share of the hidden layer that is left out in training."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"expected dropout in [0, 1), got {self.dropout}")


@HEADS.register(PlayerFinderConfig)
class PlayerFinder(nn.Module):
    """Says of each slot how much of the player it holds, before anything is done.

    An action decoder sees who acted once it is done; whoever is to act for the player must know before, and the slot
    that mostly is the player is another one where slots take turns at it.
    """

    def __init__(self, config: PlayerFinderConfig):
        super().__init__()
        self.config = config
        self.layers = nn.Sequential(
            nn.LayerNorm(config.slot_dim),
            nn.Linear(config.slot_dim, config.width),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.width, 1),
        )

    def forward(self, slots: Tensor) -> Tensor:
        """Slots (..., K, S) -> logits (..., K), whose softmax are the slots' shares of the player."""
        return self.layers(slots.float())[..., 0]

    def holds(self, slots: Tensor) -> Tensor:
        """Slots (..., K, S) -> bool (..., K): those with a share of at least `HOLDS`, one at least."""
        shares = self(slots).softmax(-1)
        return shares >= shares.amax(-1, keepdim=True).clamp(max=HOLDS)
