"""Which slots the player is: what the attention of a decoder tells of transitions, and of the states before them."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from flam_env.heads.action_decoder import ActionDecoder, Transitions
from flam_train.heads.few_labels import seen_by

Steered = Callable[[Tensor], Tensor]
"""Slots (B, K, S) of a state -> which are asked for something, bool (B, K)."""


def attention_of(network: ActionDecoder, seen: Transitions) -> Tensor:
    """How much each slot is the player in P transitions: (P, K), on the CPU."""
    return torch.cat([output.attention.cpu() for output in seen_by(network, seen)])


def share_of_episodes(attention: Tensor, episodes: np.ndarray, slot: int) -> float:
    """In what share of the episodes, int64 (P,), this slot gets more attention (P, K) than any other."""
    _, numbers = np.unique(episodes, return_inverse=True)
    totals = torch.zeros(int(numbers.max()) + 1, attention.shape[1])
    totals.index_add_(0, torch.from_numpy(numbers), attention)
    return (totals.argmax(1) == slot).float().mean().item()


def one_slot(slot: int) -> Steered:
    """Says of one slot that it is the player, in every state."""

    def steered(slots: Tensor) -> Tensor:
        chosen = torch.zeros(slots.shape[:-1], dtype=torch.bool, device=slots.device)
        chosen[..., slot] = True
        return chosen

    return steered
