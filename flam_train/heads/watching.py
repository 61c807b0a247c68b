"""What a world makes of some transitions of a store, from its cached tokens."""

from itertools import pairwise

import numpy as np
import torch

from flam_env.heads.action_decoder import Transitions
from flam_env.labelling.labeller import Labeller
from flam_train.store.moments import Moments
from flam_train.store.tokens import TokenSplit

try:
    from tqdm import tqdm
except ImportError as error:
    raise ImportError("watching episodes needs tqdm: pip install 'flam-env[train]'") from error

PIECE = 64  # frames seen at once


def watch(labeller: Labeller, split: TokenSplit, moments: Moments) -> Transitions:
    """Sees the episodes of a split as the labeller does, from their beginnings, and keeps what is asked for.

    Args:
        labeller: of the world that the tokens are of.
        split: tokens of all episodes, or of more.
        moments: P of them, the frame before each transition, in any order.

    Returns:
        P transitions, stored.

    Raises:
        ValueError: there are no tokens of a moment.
    """
    at = split.rows(moments, length=2)
    order = np.argsort(at, kind="stable")
    ascending, seen = at[order], []
    episodes = [each for each in pairwise(split.bounds) if _between(ascending, *each).size]
    for first, last in tqdm(episodes, desc="watching", unit=" episodes", leave=False, disable=None):
        state, stop = None, _between(ascending, first, last)[-1] + 2
        for start in range(first, stop, PIECE):
            tokens = torch.from_numpy(np.array(split.tokens[start : min(start + PIECE, stop)]))
            state, piece = labeller.follow(state, tokens.to(labeller.dream.device).long()[None])
            begin = max(first, start - 1)
            rows = _between(ascending, begin, begin + piece.tokens.shape[1]) - begin
            seen.append(piece.at((0, torch.from_numpy(rows))).stored())
    return Transitions.join(seen).at(torch.from_numpy(np.argsort(order)))


def _between(ascending: np.ndarray, first: int, last: int) -> np.ndarray:
    """Those of ascending numbers that lie in [first, last)."""
    return ascending[slice(*np.searchsorted(ascending, [first, last]))]
