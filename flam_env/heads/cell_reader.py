"""What two frames show, for a head that reads more than slots: their codes, cell by cell."""

from itertools import pairwise

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from flam_env.models.quantize import FSQ, check_levels
from flam_env.models.shift import shifted
from flam_env.validation import check_integer

CHANNELS = 64
SMALLEST = 4
"""Patches along one side that a reader needs, which halves it twice."""


def check_cells(grid: int, levels: tuple[int, ...]) -> None:
    """Checks what a reader is to see.

    Raises:
        ValueError: a grid that is too small, or levels that are none.
    """
    check_integer(grid, "grid", SMALLEST)
    check_levels(levels)


class CellReader(nn.Module):
    """Convolutions over the codes of a frame and how they change, beside the cells that are the player's in both.

    In training both frames are shifted alike by up to one patch: labels are few.

    Args:
        grid: patches along one side of a frame.
        levels: FSQ levels of each channel of a code, L of them.
        outputs: O, numbers that are read.
        dropout: share of what was seen that is left out in training.
    """

    def __init__(self, grid: int, levels: tuple[int, ...], *, outputs: int, dropout: float):
        super().__init__()
        self.grid, self.quantizer = grid, FSQ(levels)
        layers: list[nn.Module] = [nn.Conv2d(2 * len(levels) + 2, CHANNELS, 3, padding=1), nn.GELU()]
        for before, after in pairwise([CHANNELS] * 3):
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.GELU()]
        inside = CHANNELS * (grid // 2 // 2) ** 2
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(dropout), nn.Linear(inside, outputs))

    def forward(self, tokens: Tensor, player: Tensor) -> Tensor:
        """Tokens (B, 2, N) of two frames and the player's share of cells (B, 2, cells) -> (B, O)."""
        codes = rearrange(self.quantizer.codes(tokens.long()), "b t (h w) l -> t b l h w", h=self.grid)
        side = round(player.shape[-1] ** 0.5)
        each = {"h": side, "p": self.grid // side, "q": self.grid // side}
        shares = repeat(player, "b t (h w) -> b t (h p) (w q)", **each)
        seen = torch.cat([codes[0], codes[1] - codes[0], shares.to(codes.dtype)], 1)
        return self.layers(shifted(seen, 1) if self.training else seen)
