"""The features of a frame that the networks see: one vector for each cell of a few patches."""

import torch
from einops import rearrange
from torch import Tensor, nn

from flam_env.models.quantize import FSQ


class CellFeatures(nn.Module):
    """Tokens to cell features: linear in the codes, plus an embedding of each token and of the cell's position.

    Args:
        quantizer: of the tokens.
        grid: patches along one side of a frame.
        group: side of the square of patches that is one cell.
        dim: D.
        context: whether the feature of a cell sees the 3 x 3 cells around it.

    Raises:
        ValueError: the grid is not a whole number of groups.
    """

    offsets: Tensor

    def __init__(self, quantizer: FSQ, *, grid: int, group: int, dim: int, context: bool):
        super().__init__()
        if grid % group:
            raise ValueError(f"expected grid to be a multiple of group, got grid={grid}, group={group}")
        self.quantizer, in_cell, side = quantizer, group**2, grid // group
        self.layout = {"h": side, "p": group, "w": side, "q": group}
        self.from_codes = nn.Linear(in_cell * len(quantizer.levels), dim)
        self.token_embedding = nn.Embedding(in_cell * quantizer.size, dim)
        self.position_embedding = nn.Parameter(0.5 * smooth_positions(side, dim))
        nn.init.normal_(self.token_embedding.weight, std=0.5 / group)
        self.context = nn.Conv2d(dim, dim, 3, padding=1) if context else None
        self.register_buffer("offsets", torch.arange(in_cell) * quantizer.size, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N) -> cell features (B, cells, D)."""
        cells = rearrange(tokens.long(), "b (h p w q) -> b (h w) (p q)", **self.layout)
        codes = rearrange(self.quantizer.codes(cells), "b n g l -> b n (g l)")
        features = self.from_codes(codes) + self.token_embedding(cells + self.offsets).sum(2)
        if self.context is not None:
            around = self.context(rearrange(features, "b (h w) d -> b d h w", h=self.layout["h"]))
            features = features + rearrange(around, "b d h w -> b (h w) d")
        return features + self.position_embedding

    def to_patches(self, numbers: Tensor) -> Tensor:
        """Numbers of cells (B, cells, patches in a cell * O) -> numbers of patches (B, N, O), in their order."""
        return rearrange(numbers, "b (h w) (p q o) -> b (h p w q) o", **self.layout)


def smooth_positions(side: int, dim: int, reach: float = 2.0) -> Tensor:
    """Random Fourier features of a square grid: (side * side, dim) of unit spread, alike within about `reach` cells.

    Attention that starts from these is local at once, where independent noise for each cell would scatter it.
    """
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    places = torch.stack([rows, columns], -1).flatten(0, 1).float()
    return 2**0.5 * torch.cos(places @ torch.randn(2, dim) / reach + 2 * torch.pi * torch.rand(dim))
