"""Transformer blocks that look across what is in a frame and back in time (Genie, arXiv:2402.15391, section 2)."""

import torch
from einops import rearrange
from torch import Tensor, nn

from flam_env.models.factorizer import FrameTimes, TemporalAttention
from flam_env.models.layers import FeedForward, SelfAttention
from flam_env.models.protocol import History


class SpaceTime(nn.Module):
    """`layers` blocks of attention among the K tokens of a frame, of each token to its own past, and a feed-forward.

    Time is banded causal with rotary positions, as in FLAM's factorizer, so a clip may be given in pieces. Tokens have
    no positions here: what is permuted comes out permuted.
    """

    def __init__(self, *, dim: int, heads: int, layers: int, feed_forward: int, window: int):
        super().__init__()
        self.dim, self.window = dim, window
        self.times = FrameTimes(window, dim // heads)
        self.spatial = nn.ModuleList(SelfAttention(dim, heads) for _ in range(layers))
        self.temporal = nn.ModuleList(TemporalAttention(dim, heads, window) for _ in range(layers))
        self.feed_forward = nn.ModuleList(FeedForward(dim, feed_forward) for _ in range(layers))

    def empty_history(self, batch: int, tokens: int, device: torch.device) -> History:
        """The history before the first frame of `tokens` tokens.

        Returns:
            Keys and values (B, layers, W - 1, K, D), and how many of these frames are real, int64 (B,).
        """
        blank = torch.zeros(batch, len(self.temporal), self.window - 1, tokens, self.dim, device=device)
        return blank, blank, torch.zeros(batch, dtype=torch.long, device=device)

    def forward(self, x: Tensor, history: History) -> tuple[Tensor, History]:
        """Tokens (B, T, K, D) and the history before them -> tokens that have looked around, and the history after."""
        past_keys, past_values, length = history
        timing, keys, values = self.times(x.shape[1], length), [], []
        blocks = zip(self.spatial, self.temporal, self.feed_forward, strict=True)
        for i, (spatial, temporal, feed_forward) in enumerate(blocks):
            around = spatial(rearrange(x, "b t k d -> (b t) k d"))
            x = x + rearrange(around, "(b t) k d -> b t k d", b=len(x))
            residual, new_keys, new_values = temporal(x, past_keys[:, i], past_values[:, i], timing)
            x = x + residual
            x = x + feed_forward(x)
            keys.append(new_keys[:, 1 - self.window :])
            values.append(new_values[:, 1 - self.window :])
        length = (length + x.shape[1]).clamp(max=self.window - 1)
        return x, (torch.stack(keys, 1).float(), torch.stack(values, 1).float(), length)
