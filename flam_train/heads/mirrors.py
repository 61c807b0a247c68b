"""Few labels are more when frames are mirrored: what went left then went right, and its action is the one for right."""

from collections.abc import Mapping

import torch
from torch import Tensor

from flam_train.sources.procgen.games import MIRRORS

Mirrors = Mapping[int, tuple[int, ...]]
"""By axis of a frame (0 rows, 1 columns): what each action becomes when frames are mirrored along it."""


def known_mirrors(source: str, actions: int) -> Mirrors:
    """The mirrors under which a source's video stays what it is; none where nobody knows.

    Args:
        source: of a store, as procgen/bigfish.
        actions: number of real actions; another than the game's is another meaning of them.
    """
    found = MIRRORS.get(source.removeprefix("procgen/"), {})
    return {axis: becomes for axis, becomes in found.items() if len(becomes) == actions}


def mirrored(before: Tensor, after: Tensor, actions: Tensor, mirrors: Mirrors) -> tuple[Tensor, Tensor, Tensor]:
    """Each pair of frames uint8 (B, H, W, 3) and its action int64 (B,), mirrored along each axis half of the time."""
    for axis, becomes in mirrors.items():
        chosen = torch.rand(len(actions), device=actions.device) < 0.5
        before, after = (_flipped(frames, chosen, axis) for frames in (before, after))
        actions = torch.where(chosen, torch.tensor(becomes, device=actions.device)[actions], actions)
    return before, after, actions


def _flipped(frames: Tensor, chosen: Tensor, axis: int) -> Tensor:
    return torch.where(chosen[:, None, None, None], frames.flip(1 + axis), frames)
