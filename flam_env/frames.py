"""The door between frames outside (uint8, HWC) and frames inside (float, CHW, [0, 1])."""

import numpy as np
import torch
from einops import rearrange
from torch import Tensor


def to_float(frames: np.ndarray | Tensor, device: torch.device | str = "cpu") -> Tensor:
    """Frames uint8 (..., H, W, 3) -> float32 (..., 3, H, W) in [0, 1] on the device."""
    if isinstance(frames, np.ndarray):  # torch takes no mirrored views, and warns of arrays that are read-only
        frames = np.require(frames, requirements=["C", "W"])
    return rearrange(torch.as_tensor(frames).to(device), "... h w c -> ... c h w").float() / 255


def to_uint8(frames: Tensor) -> Tensor:
    """Frames float (..., 3, H, W) -> uint8 (..., H, W, 3), clamped to [0, 1] and rounded."""
    return rearrange((frames.float().clamp(0, 1) * 255).round().byte(), "... c h w -> ... h w c")


def check_frames(frames: np.ndarray, size: int, shortest: int, longest: int | None = None) -> np.ndarray:
    """Returns the frames if they are uint8 (T, size, size, 3) with T in the given range.

    Raises:
        ValueError: anything else; the message names what was expected and what came.
    """
    frames = np.asarray(frames)
    length = f"{shortest} or more" if longest is None else f"{shortest} to {longest}"
    expected = f"expected {length} uint8 frames of shape (T, {size}, {size}, 3)"
    if frames.dtype != np.uint8:
        raise ValueError(f"{expected}, got dtype {frames.dtype}; convert to uint8 in [0, 255]")
    if frames.ndim != 4 or frames.shape[1:] != (size, size, 3):
        raise ValueError(f"{expected}, got shape {frames.shape}; resize the frames to {size} x {size} RGB")
    if len(frames) < shortest or (longest is not None and len(frames) > longest):
        raise ValueError(f"{expected}, got {len(frames)} frames")
    return frames
