"""Attention, feed-forward and rotary position blocks shared by all networks, and masks that grow."""

import math

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, scaled_dot_product_attention

LONG = 128
"""Tokens from which on attention pays in one kernel, on a CPU in float32."""


def check_attention(window: int, dim: int, heads: int) -> None:
    """Checks the sizes of attention over the frames of a window.

    Raises:
        ValueError: a window of a single frame, or heads whose channels do not come in pairs.
    """
    if window < 2:
        raise ValueError(f"expected a temporal window of at least 2 frames, got window={window}")
    if dim % (2 * heads):  # rotary positions turn pairs of channels of a head
        raise ValueError(f"expected dim to be a multiple of 2 * heads, got dim={dim}, heads={heads}")


class FeedForward(nn.Sequential):
    """Pre-norm two-layer perceptron; the caller adds the residual."""

    def __init__(self, dim: int, multiple: int):
        super().__init__(nn.LayerNorm(dim), nn.Linear(dim, multiple * dim), nn.GELU(), nn.Linear(multiple * dim, dim))


def attend(
    query: Tensor, key: Tensor, value: Tensor, hidden: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """Softmax attention (..., T, d) to (..., S, d), the softmax in float32.

    hidden (..., T, S) is True where none is; bias (..., T, S) is added to the logits.

    Written out where sequences are short (slots, a window of frames): the fused CPU kernel of
    `scaled_dot_product_attention` is several times slower backwards on many of those, and in bf16 always.
    """
    if hidden is None and bias is None and query.dtype == torch.float32 and min(query.shape[-2], key.shape[-2]) >= LONG:
        return scaled_dot_product_attention(query, key, value)
    scores = (query @ key.transpose(-2, -1)).float() * query.shape[-1] ** -0.5
    if bias is not None:
        scores = scores + bias
    if hidden is not None:
        scores = scores.masked_fill(hidden, float("-inf"))
    return scores.softmax(-1).to(value.dtype) @ value


def grown(masks: Tensor) -> Tensor:
    """Masks (B, K, N) of a square grid, each patch with the largest share of the 3 x 3 around it."""
    side = math.isqrt(masks.shape[-1])
    return max_pool2d(masks.unflatten(-1, (side, side)), 3, stride=1, padding=1).flatten(-2)


class SelfAttention(nn.Module):
    """Pre-norm multi-head self-attention over the second-to-last axis; the caller adds the residual."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.project_in = nn.Linear(dim, 3 * dim, bias=False)
        self.project_out = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, K, D) -> (B, K, D)."""
        qkv = rearrange(self.project_in(self.norm(x)), "b k (three h d) -> three b h k d", three=3, h=self.heads)
        return self.project_out(rearrange(attend(*qkv), "b h k d -> b k (h d)"))


class CrossAttention(nn.Module):
    """Pre-norm multi-head attention of one set of tokens to another; the caller adds the residual."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.norm_context = nn.LayerNorm(dim)
        self.project_query = nn.Linear(dim, dim, bias=False)
        self.project_context = nn.Linear(dim, 2 * dim, bias=False)
        self.project_out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, context: Tensor, bias: Tensor | None = None) -> Tensor:
        """(B, N, D) queries and (B, K, D) context -> (B, N, D); bias (B, 1, N, K) is added to the logits."""
        query = rearrange(self.project_query(self.norm(x)), "b n (h d) -> b h n d", h=self.heads)
        key_value = self.project_context(self.norm_context(context))
        key, value = rearrange(key_value, "b k (two h d) -> two b h k d", two=2, h=self.heads)
        return self.project_out(rearrange(attend(query, key, value, bias=bias), "b h n d -> b n (h d)"))


class PairAttention(nn.Module):
    """Each token of a private stream attends to two keys: its own context token and itself.

    Token i sees nothing of token j: this is what keeps the factors apart (paper 4.2, the temporal block of the
    inverse and forward dynamics). Two keys rather than one, because softmax over one key ignores the query.
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.norm_context = nn.LayerNorm(dim)
        self.project_own = nn.Linear(dim, 3 * dim, bias=False)
        self.project_context = nn.Linear(dim, 2 * dim, bias=False)
        self.project_out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """(B, K, D) private stream and (B, K, D) context stream -> (B, K, D)."""
        query, own_key, own_value, seen_key, seen_value = self._project(x, context)
        # A softmax over two keys is a sigmoid of the difference of their scores.
        score = (query * (seen_key - own_key)).float().sum(-1, keepdim=True) * query.shape[-1] ** -0.5
        weight = torch.sigmoid(score).to(own_value.dtype)
        mixed = own_value + weight * (seen_value - own_value)
        return self.project_out(rearrange(mixed, "b k h d -> b k (h d)"))

    def _project(self, x: Tensor, context: Tensor) -> tuple[Tensor, ...]:
        """Query, key and value of the stream, then key and value of the context: each (B, K, heads, d)."""
        own = self.project_own(self.norm(x))
        seen = self.project_context(self.norm_context(context))
        return (
            *rearrange(own, "b k (three h d) -> three b k h d", three=3, h=self.heads),
            *rearrange(seen, "b k (two h d) -> two b k h d", two=2, h=self.heads),
        )


class CoupledAttention(PairAttention):
    """Each token attends to all context tokens and to all tokens of the other stream, with a pair's projections.

    This gives up what keeps the factors apart (paper C.4, Global-Coupled FLAM).
    """

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """(B, K, D) stream, private no more, and (B, K, D) context stream -> (B, K, D)."""
        query, *pair = (rearrange(part, "b k h d -> b h k d") for part in self._project(x, context))
        own_key, own_value, seen_key, seen_value = pair
        keys, values = torch.cat([seen_key, own_key], 2), torch.cat([seen_value, own_value], 2)
        return self.project_out(rearrange(attend(query, keys, values), "b h k d -> b k (h d)"))


def rotary_turns(positions: Tensor, dim: int) -> Tensor:
    """Cosines and sines of the angles of `rotary` at positions (T,), of heads of `dim` channels: (2, T, dim / 2)."""
    half = dim // 2
    frequencies = 100.0 ** (-torch.arange(half, device=positions.device, dtype=torch.float32) / half)
    angles = positions.float()[:, None] * frequencies
    return torch.stack([angles.cos(), angles.sin()])


def rotary(x: Tensor, turns: Tensor) -> Tensor:
    """Rotates pairs of channels by angles that grow with the position (RoPE).

    Args:
        x: (..., T, d) queries or keys of one head, d even.
        turns: (2, T, d / 2) in the dtype of x, as `rotary_turns` gives them; only differences of positions matter to
            attention.
    """
    cos, sin = turns
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
