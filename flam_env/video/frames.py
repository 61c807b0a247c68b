"""The door between frames outside (uint8, HWC) and frames inside (float, CHW, [0, 1])."""

from typing import Literal

import numpy as np
import torch
from einops import pack, rearrange, unpack
from torch import Tensor
from torch.nn.functional import interpolate

from flam_env.warn import warn_user


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
        ValueError: anything else; the message names what was expected, what came, which axis is wrong and what to do.
    """
    frames = np.asarray(frames)
    length = f"{shortest} or more" if longest is None else f"{shortest} to {longest}"
    expected = f"expected {length} uint8 frames of shape (T, {size}, {size}, 3)"
    if frames.dtype != np.uint8:
        raise ValueError(f"{expected}, got dtype {frames.dtype}; convert to uint8 in [0, 255]")
    if frames.ndim != 4 or frames.shape[1:] != (size, size, 3):
        raise ValueError(f"{expected}, got shape {frames.shape}; {_time_advice(frames.shape, size)}")
    if len(frames) < shortest or (longest is not None and len(frames) > longest):
        raise ValueError(f"{expected}, got {len(frames)} frames")
    return frames


def channel_advice(shape: tuple[int, ...]) -> str:
    """What is wrong with the channels of frames that are not (..., H, W, 3), and what to do; empty where nothing is."""
    if shape[-1:] == (3,) and len(shape) > 2:
        return ""
    if shape[-1:] == (4,) and len(shape) > 2:
        return "the last axis holds 4 channels, as of RGBA: leave out the last with frames[..., :3]"
    if shape[-1:] == (1,) and len(shape) > 2:
        return "the last axis holds 1 channel, as of grey frames: repeat it with np.repeat(frames, 3, -1)"
    if shape[-3:-2] in ((1,), (3,), (4,)):
        return "the channels come first: move them last with np.moveaxis(frames, -3, -1)"
    if len(shape) in (2, 3):
        return "there is no axis of channels, as of grey frames: add it with np.repeat(frames[..., None], 3, -1)"
    return "convert the frames to RGB, channels last"


def _time_advice(shape: tuple[int, ...], size: int) -> str:
    """What is wrong with the shape of frames that are not (T, size, size, 3), and what to do."""
    if advice := channel_advice(shape):
        return advice
    resize = f"resize the frames to {size} x {size}, e.g. with flam_env.video.frames.resize_frames(frames, {size})"
    sized = shape[-3:-1] == (size, size)
    if len(shape) == 3:
        return "this is one frame without an axis of time: add it with frames[None]" + (
            "" if sized else f", and {resize}"
        )
    if len(shape) > 4:
        return "there are axes before that of time: give one video, as frames[0]"
    return resize


def resize_frames(frames: np.ndarray, size: int) -> np.ndarray:
    """Frames uint8 (..., H, W, 3) -> uint8 (..., size, size, 3): a new pixel is the mean of the area that it covers.

    All of the frame stays in view, so frames that are not square change their aspect ratio.
    """
    return _resize(frames, size, size)


def _resize(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    if frames.shape[-3:-1] == (height, width):
        return frames
    flat, leading = pack([frames], "* h w c")
    resized = np.empty((len(flat), height, width, 3), np.uint8)
    for i, frame in enumerate(flat):  # one at a time: as floats, large frames are larger still
        resized[i] = to_uint8(interpolate(to_float(frame)[None], (height, width), mode="area"))[0].numpy()
    return unpack(resized, leading, "* h w c")[0]


Fit = Literal["stretch", "crop", "pad"]
"""How frames that are not square become square: all of it in another aspect, its middle, or all of it between bars."""


SHOWN: dict[Fit, str] = {
    "stretch": "whatever their aspect ratio",
    "crop": "of what is not square the middle",
    "pad": "between black bars where they are not square",
}
"""The same in words."""


def fit_frames(frames: np.ndarray, size: int, fit: Fit) -> np.ndarray:
    """Frames uint8 (..., H, W, 3) -> uint8 (..., size, size, 3), as by `resize_frames`; the bars of "pad" are black."""
    height, width = frames.shape[-3:-1]
    if fit == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return resize_frames(frames[..., top : top + side, left : left + side, :], size)
    if fit == "stretch" or height == width:
        return resize_frames(frames, size)
    high, wide = (max(1, round(size * side / max(height, width))) for side in (height, width))
    top, left = (size - high) // 2, (size - wide) // 2
    padded = np.zeros((*frames.shape[:-3], size, size, 3), np.uint8)
    padded[..., top : top + high, left : left + wide, :] = _resize(frames, high, wide)
    return padded


class FrameFitter:
    """Brings the frames of one video to the size of a world, and warns once if that changes them.

    Args:
        size: height and width that the world sees.
        fit: how the videos that it learned from became square.
    """

    def __init__(self, size: int, fit: Fit = "stretch"):
        self.size, self.fit = size, fit
        self._seen: tuple[int, int] | None = None

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Frames uint8 (..., H, W, 3) -> uint8 (..., size, size, 3).

        Raises:
            ValueError: another dtype or shape, or another height and width than the frames before.
        """
        frames = np.asarray(frames)
        if frames.dtype != np.uint8:
            raise ValueError(f"expected uint8 frames, got dtype {frames.dtype}; convert to uint8 in [0, 255]")
        if advice := channel_advice(frames.shape):
            raise ValueError(f"expected frames (..., H, W, 3), got shape {frames.shape}; {advice}")
        if 0 in frames.shape[-3:-1]:
            raise ValueError(f"expected frames (..., H, W, 3) with pixels, got shape {frames.shape}; leave them out")
        height, width = frames.shape[-3:-1]
        if self._seen not in (None, (height, width)):
            before = "{} x {}".format(*self._seen)  # type: ignore[misc]
            raise ValueError(f"expected frames of {before} as before, got {height} x {width}; bring all to one size")
        if self._seen is None and (height, width) != (self.size, self.size):
            warn_user(
                f"the world sees frames of {self.size} x {self.size}: these of {height} x {width} are resized by "
                f"averaging areas, {SHOWN[self.fit]}; crop or resize them first if that is not what you want"
            )
        self._seen = height, width
        return fit_frames(frames, self.size, self.fit)
