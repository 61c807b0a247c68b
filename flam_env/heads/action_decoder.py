"""From latent actions to real ones: a small network that also finds out which slot the player is (paper 4.3, C.3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from einops import einsum
from torch import Tensor, nn

from flam_env.heads.action_encoder import ActionEncoderConfig
from flam_env.heads.cell_reader import CellReader, check_cells
from flam_env.heads.registry import HEADS


@dataclass(frozen=True, kw_only=True)
class ActionDecoderConfig(ActionEncoderConfig):
    """Sizes of an action decoder: those of the way back, the number of slots, and the cells of a frame, if it sees any.

    Raises:
        ValueError: as there, or a grid without levels or too small.
    """

    BEFORE: ClassVar[dict[str, Any]] = {"grid": None, "levels": ()}
    """What fields mean that older files lack."""

    slots: int
    """K, number of slots."""
    grid: int | None = None
    """Patches along one side of a frame; without it a decoder sees no cells, only slots and latent actions."""
    levels: tuple[int, ...] = ()
    """FSQ levels of each channel of a code, as the tokenizer has them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.grid is not None:
            check_cells(self.grid, self.levels)


class Transitions(NamedTuple):
    """What a world makes of what happens between two frames, in every place of any leading axes.

    slots: (..., 2, K, S), of the frame before and of the one after; latent_actions: (..., K, A) between them, in action
    units; tokens: int64 (..., 2, N), the frames; masks: (..., 2, K, cells), what each slot has of them.
    """

    slots: Tensor
    latent_actions: Tensor
    tokens: Tensor
    masks: Tensor

    def at(self, index: Any) -> "Transitions":
        """Those at an index of the leading axes."""
        return Transitions(*(part[index] for part in self))

    @classmethod
    def join(cls, pieces: Sequence["Transitions"]) -> "Transitions":
        """One after the other, along the first axis."""
        return cls(*map(torch.cat, zip(*pieces, strict=True)))

    def stored(self) -> "Transitions":
        """On the CPU, in types of half the size, for there are many; what is read from them is the same within that."""
        slots, masks = self.slots.half(), self.masks.half()
        return Transitions(*(part.cpu() for part in (slots, self.latent_actions.float(), self.tokens.int(), masks)))


class Decoded(NamedTuple):
    """logits: (B, C) over real actions; attention: (B, K), how much each slot is the player, summing to 1."""

    logits: Tensor
    attention: Tensor


@HEADS.register(ActionDecoderConfig)
class ActionDecoder(nn.Module):
    """Pools slots, how they change and their latent actions with one learned query, and reads the real action from it.

    The latent action alone holds as much of a change as was worth its price to the world, and a slot as much of a thing
    as foretells it, so that few labels say more of what two frames show: beside what was pooled the decoder sees their
    cells, and which of these are the player's. No slot has a place of its own: permuted slots give the same logits and
    permuted attention.

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
        self.cells = None
        if config.grid is not None:
            self.cells = CellReader(config.grid, config.levels, outputs=config.width, dropout=config.dropout)
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("controlled_slot", torch.zeros((), dtype=torch.long))

    def forward(
        self, slots: Tensor, latent_actions: Tensor, tokens: Tensor | None = None, masks: Tensor | None = None
    ) -> Decoded:
        """What was done between two frames.

        Args:
            slots: of the frame before and of the one after, (B, 2, K, S).
            latent_actions: between them, (B, K, A), in action units.
            tokens: of both frames, (B, 2, N), for a decoder that sees cells.
            masks: of the slots in both, (B, 2, K, cells), for such a one.

        Raises:
            ValueError: tokens or masks are missing that it sees.
        """
        before, after = slots.float().unbind(1)
        seen = self.read(torch.cat([self.norm(before), after - before, latent_actions], -1))
        attention = self.key(seen)[..., 0].float().softmax(-1)
        pooled = einsum(attention, self.value(seen).float(), "b k, b k w -> b w")
        if self.cells is not None:
            if tokens is None or masks is None:
                raise ValueError(
                    "expected tokens and masks, since this decoder sees cells; give it all of `Transitions`"
                )
            player = einsum(attention, masks.float(), "b k, b t k c -> b t c")
            pooled = pooled + self.cells(tokens, player)
        return Decoded(self.head(pooled).float() / self.temperature, attention)

    def probabilities(self, seen: Transitions) -> Tensor:
        """Calibrated probabilities float32 (..., C) of transitions; NaN where a latent action is."""
        leading = seen.slots.shape[:-3]
        slots, latent_actions = seen.slots.flatten(0, -4), seen.latent_actions.flatten(0, -3)
        tokens, masks = seen.tokens.flatten(0, -3), seen.masks.flatten(0, -4)
        return self(slots, latent_actions, tokens, masks).logits.softmax(-1).unflatten(0, leading)
