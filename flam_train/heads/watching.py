"""What a world makes of some transitions of a store: slots and latent actions, from its cached tokens."""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from flam_env.labelling.labeller import Labeller
from flam_train.store.moments import Moments
from flam_train.store.tokens import TokenSplit

try:
    from tqdm import tqdm
except ImportError as error:
    raise ImportError("watching episodes needs tqdm: pip install 'flam-env[train]'") from error

PIECE = 64  # frames seen at once


def watch(labeller: Labeller, split: TokenSplit, moments: Moments) -> tuple[Tensor, Tensor]:
    """Sees the episodes of a split as the labeller does, from their beginnings, and keeps what is asked for.

    Args:
        labeller: of the world that the tokens are of.
        split: tokens of all episodes, or of more.
        moments: P of them, the frame before each transition, in any order.

    Returns:
        Slots (P, 2, K, S) of these frames and of the next ones, in half precision, for a long store has many; and the
        latent actions float32 (P, K, A), in action units, that lead there; on the CPU.

    Raises:
        ValueError: there are no tokens of a moment.
    """
    world, device, at = labeller.world, labeller.dream.device, split.rows(moments, length=2)
    slots = torch.empty(len(at), 2, world.model.slots, world.model.slot_dim, dtype=torch.float16)
    latent_actions = torch.empty(len(at), *world.action_shape)
    order = np.argsort(at, kind="stable")
    ascending = at[order]
    episodes = [each for each in pairwise(split.bounds) if _between(ascending, *each).size]
    for first, last in tqdm(episodes, desc="watching", unit=" episodes", leave=False, disable=None):
        state, stop = None, _between(ascending, first, last)[-1] + 2
        for start in range(first, stop, PIECE):
            tokens = torch.from_numpy(np.array(split.tokens[start : min(start + PIECE, stop)])).to(device).long()
            state, around, between = labeller.follow(state, tokens[None])
            begin = max(first, start - 1)
            rows = order[slice(*np.searchsorted(ascending, [begin, begin + around.shape[1]]))]
            slots[rows] = around[0, at[rows] - begin].half().cpu()
            latent_actions[rows] = between[0, at[rows] - begin].cpu()
    return slots, latent_actions


def _between(ascending: np.ndarray, first: int, last: int) -> np.ndarray:
    """Those of ascending numbers that lie in [first, last)."""
    return ascending[slice(*np.searchsorted(ascending, [first, last]))]
