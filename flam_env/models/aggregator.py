"""The aggregator: predicted slots back to the features of the next frame (paper 4.2)."""

from einops import rearrange
from torch import Tensor, nn

from flam_env.models.layers import CrossAttention, FeedForward, grown

# What a slot counts for that has nothing of a patch and of those around it, in the eyes of that patch.
FAR = 0.01


class Aggregator(nn.Module):
    """Updates every patch feature by cross-attention to the predicted slots.

    The head starts small, so that the first prediction is close to the current frame.
    """

    def __init__(self, *, dim: int, heads: int, layers: int, feed_forward: int, outputs: int):
        super().__init__()
        self.attention = nn.ModuleList(CrossAttention(dim, heads) for _ in range(layers))
        self.feed_forward = nn.ModuleList(FeedForward(dim, feed_forward) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, outputs)
        nn.init.normal_(self.head.weight, std=1e-2)
        nn.init.zeros_(self.head.bias)

    def forward(self, features: Tensor, predicted_slots: Tensor, masks: Tensor | None = None) -> Tensor:
        """Features (B, N, D) of the current frame and predicted slots (B, K, S) -> (B, N, outputs).

        With the masks (B, K, N) of the current frame, a patch looks at the slots that are near where any are.
        """
        bias = None if masks is None else _nearness(masks)
        for attend, feed_forward in zip(self.attention, self.feed_forward, strict=True):
            features = features + attend(features, predicted_slots, bias)
            features = features + feed_forward(features)
        return self.head(self.norm(features))


def _nearness(masks: Tensor) -> Tensor:
    """Masks (B, K, N) of a square grid -> logarithms (B, 1, N, K) of what slots have of a patch or one beside it."""
    return rearrange((grown(masks) + FAR).log(), "b k n -> b 1 n k")
