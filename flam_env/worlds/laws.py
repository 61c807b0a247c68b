"""What has always held in the videos that a world was learned from, and therefore holds in its dreams.

The forward model is only sure of what it has seen. A latent action where it never happened, such as a step forward in
front of a wall, may dissolve whoever takes it. Such actions are refused by what the world knows of its videos.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from flam_env.models.quantize import FSQ
from flam_env.validation import check_fields

HOLDS = 0.5  # share of the cell that it holds most of, from which on a slot holds something
MOST = 0.5  # of that share; a slot that loses more of it holds nothing of the kind any more
CODES_AT_ONCE = 1024  # are compared with all that occur, in the search for the nearest


@dataclass(frozen=True, kw_only=True)
class Laws:
    """What holds in every dream of a world (not in the paper). By default nothing is known to hold.

    Raises:
        ValueError: a field of another type.
    """

    unseen_tokens: tuple[int, ...] = ()
    """Tokens that never occur, in ascending order; no dream shows them."""
    permanence: bool = False
    """Whether nothing ever vanishes; then a slot whose action would make it vanish rests."""

    def __post_init__(self) -> None:
        check_fields(self)


class NearestSeen(nn.Module):
    """Replaces tokens that never occur by the nearest that do, on the device that it is moved to.

    Args:
        unseen: tokens that never occur.
        quantizer: of the tokens; near are tokens whose codes are.
    """

    nearest: Tensor

    def __init__(self, unseen: tuple[int, ...], quantizer: FSQ):
        super().__init__()
        every = torch.arange(quantizer.size)
        seen = torch.tensor(sorted(set(every.tolist()) - set(unseen)))
        codes = quantizer.codes(every.to(quantizer.levels.device)).cpu()
        nearest = [torch.cdist(part, codes[seen]).argmin(1) for part in codes.split(CODES_AT_ONCE)]
        self.register_buffer("nearest", seen[torch.cat(nearest)], persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens int64 (...) -> tokens that occur, int64 (...)."""
        return self.nearest[tokens]


def vanished(before: Tensor, after: Tensor) -> Tensor:
    """Which slots held something and have lost it, judged by the cell of which a slot has most.

    The sum over cells would be no measure: what a slot has of the background would hide that it lost an agent.

    Args:
        before: masks (..., K, cells) of frames.
        after: masks (..., K, cells) of the frames that follow.

    Returns:
        bool (..., K).
    """
    held, holds = before.amax(-1), after.amax(-1)
    return (held >= HOLDS) & (holds < (1 - MOST) * held)
