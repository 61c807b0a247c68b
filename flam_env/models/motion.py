"""What a cell looked like some frames before, beside what it looks like now: where things are going."""

import torch
from einops import rearrange
from torch import Tensor, nn

NARROW = 32  # channels in which the frames before are remembered


class Motion(nn.Module):
    """Adds to the feature of a cell what the 3 x 3 cells around it were in frames before (not in the paper).

    Without it the features of a frame say where things are, and how they move must be learned by slots, from what
    they remember of themselves.

    Args:
        side: cells along one side of a frame.
        dim: D.
        lags: how many frames back each look is.
    """

    def __init__(self, side: int, dim: int, lags: tuple[int, ...]):
        super().__init__()
        self.side, self.lags, self.reach = side, lags, max(lags)
        self.narrow = nn.Linear(dim, NARROW)
        self.compare = nn.Conv2d((1 + len(lags)) * NARROW, dim, 3, padding=1)
        self.project_out = nn.Linear(dim, dim)

    def empty_history(self, batch: int, device: torch.device) -> Tensor:
        """What is remembered before the first frame (B, reach, cells, NARROW)."""
        return torch.zeros(batch, self.reach, self.side**2, NARROW, device=device)

    def forward(self, features: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, T, cells, D) and what is remembered of the frames before -> features, and what is then."""
        time = features.shape[1]
        seen = torch.cat([past.to(features.dtype), self.narrow(features).to(features.dtype)], 1)
        looks = [seen[:, self.reach - lag : self.reach - lag + time] for lag in (0, *self.lags)]
        stacked = rearrange(torch.cat(looks, -1), "b t (h w) d -> (b t) d h w", h=self.side)
        moved = rearrange(self.compare(stacked), "(b t) d h w -> b t (h w) d", t=time)
        moved = self.project_out(torch.nn.functional.gelu(moved))
        return features + moved, seen[:, -self.reach :].float()
