"""The aggregator: predicted slots back to the features of the next frame (paper 4.2)."""

from torch import Tensor, nn

from flam_env.models.layers import CrossAttention, FeedForward


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

    def forward(self, features: Tensor, predicted_slots: Tensor) -> Tensor:
        """Features (B, N, D) of the current frame and predicted slots (B, K, S) -> (B, N, outputs)."""
        for attend, feed_forward in zip(self.attention, self.feed_forward, strict=True):
            features = features + attend(features, predicted_slots)
            features = features + feed_forward(features)
        return self.head(self.norm(features))
