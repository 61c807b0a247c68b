"""The paper's ablation without temporal attention: a factorizer that goes from frame to frame (paper C.4)."""

from typing import Any

import torch
from torch import Tensor

from flam_env.models.factorizer import FrameFactorizer, SlotHistory, Slots
from flam_env.models.layers import FeedForward, SelfAttention


class RecurrentFactorizer(FrameFactorizer):
    """Slots of every frame of a clip, one frame after the other, as in SAVi (Kipf et al. 2022).

    The slots of a frame start from those of the frame before, moved on by a predictor, one transformer block over the
    slots; those of the first frame start from their embeddings. Each frame then runs `iterations` of slot attention.
    """

    def __init__(self, *, dim: int, heads: int, feed_forward: int, **shared: Any):
        super().__init__(dim=dim, feed_forward=feed_forward, **shared)
        self.predictor_attention = SelfAttention(dim, heads)
        self.predictor_feed_forward = FeedForward(dim, feed_forward)

    def empty_history(self, batch: int, device: torch.device) -> SlotHistory:
        """The history before the first frame: the slots (B, K, S) that the next frame starts from."""
        return (self.slot_embedding.to(device).expand(batch, -1, -1),)

    def forward(self, features: Tensor, history: SlotHistory | None = None) -> Slots:
        """Patch features (B, T, N, D) -> slots of each frame.

        A clip may be given in pieces: the slots are the same when each piece gets the history of the one before.
        """
        (slots,) = history or self.empty_history(len(features), features.device)
        values, masks = [], []
        for key_value in self.project(self.norm(features)).unbind(1):
            key, value = key_value.chunk(2, -1)
            for _ in range(self.iterations):
                slots, mask = self.slot_attention(slots, key, value)
            values.append(slots)
            masks.append(mask)
            slots = self._predict(slots)
        return Slots(torch.stack(values, 1), torch.stack(masks, 1), (slots,))

    def _predict(self, slots: Tensor) -> Tensor:
        """Slots (B, K, S) of a frame -> where those of the next frame start."""
        slots = slots + self.predictor_attention(slots)
        return slots + self.predictor_feed_forward(slots)
