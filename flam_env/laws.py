"""What has always held in the videos that a world was learned from, and therefore holds in its dreams.

The forward model is only sure of what it has seen. A latent action where it never happened, such as a step forward in
front of a wall, may dissolve whoever takes it. Such actions are refused by what the world knows of its videos.
"""

from dataclasses import dataclass

from torch import Tensor

from flam_env.validation import check_fields

SOMETHING = 0.5  # cells that a slot holds at least if it holds anything
MOST = 0.5  # share of what a slot holds; who loses more of it has vanished


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


def vanished(before: Tensor, after: Tensor) -> Tensor:
    """Which slots held something and have lost most of it.

    Args:
        before: masks (..., K, cells) of frames.
        after: masks (..., K, cells) of the frames that follow.

    Returns:
        bool (..., K).
    """
    held, holds = before.sum(-1), after.sum(-1)
    return (held >= SOMETHING) & (holds < (1 - MOST) * held)
