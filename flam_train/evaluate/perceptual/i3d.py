"""I3D, the network that FVD sees videos with (Carreira and Zisserman 2017, arxiv.org/abs/1705.07750).

The layout, the names and the padding are those of the release for Kinetics-400 on TensorFlow Hub, whose 400 logits,
averaged over time and before any softmax, are the features of FVD.
"""

from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

SHORTEST = 9
"""Frames; of fewer, less than two steps are left for the last pooling."""

SIZE = 224
"""Pixels along a side, to which every frame is resized."""

LOGITS = 400

Triple = tuple[int, int, int]


def same_padded(video: Tensor, kernel: Triple, stride: Triple) -> Tensor:
    """Zeros around (B, C, T, H, W), as few as give ceil(n / stride) results, the smaller half first."""
    margins: list[int] = []
    for size, length, step in zip(video.shape[-3:], kernel, stride, strict=True):
        total = max((-(-size // step) - 1) * step + length - size, 0)
        margins = [total // 2, total - total // 2, *margins]  # `pad` counts from the last axis
    return pad(video, margins)


class Unit(nn.Module):
    """Convolution, batch norm with the statistics of its training, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1):
        super().__init__()
        self.conv3d = nn.Conv3d(inputs, outputs, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(outputs, eps=1e-3)
        self.kernel, self.stride = (kernel,) * 3, (stride,) * 3

    def forward(self, video: Tensor) -> Tensor:
        """(B, inputs, T, H, W) -> (B, outputs, T', H', W'), each a stride-th of its axis, rounded up."""
        return self.bn(self.conv3d(same_padded(video, self.kernel, self.stride))).relu()


class Pool(nn.Module):
    """Maximum of what is nowhere negative, so that zeros around it change nothing.

    One axis after the other, which is the same: PyTorch's own, on a CPU, would be half of the network's time.
    """

    def __init__(self, kernel: Triple, stride: Triple):
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, video: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, C, T', H', W'), each a stride-th of its axis, rounded up."""
        video = same_padded(video, self.kernel, self.stride)
        for axis, size, step in zip((-3, -2, -1), self.kernel, self.stride, strict=True):
            places = video.unfold(axis, size, step).unbind(-1)
            video = reduce(torch.maximum, places)
        return video


class Mixed(nn.Module):
    """Four ways side by side: of one place, of a small neighbourhood twice, and of its maximum."""

    def __init__(self, inputs: int, b0: int, b1: tuple[int, int], b2: tuple[int, int], b3: int):
        super().__init__()
        self.b0 = Unit(inputs, b0)
        self.b1a, self.b1b = Unit(inputs, b1[0]), Unit(*b1, kernel=3)
        self.b2a, self.b2b = Unit(inputs, b2[0]), Unit(*b2, kernel=3)
        self.pool, self.b3b = Pool((3, 3, 3), (1, 1, 1)), Unit(inputs, b3)

    def forward(self, video: Tensor) -> Tensor:
        """(B, inputs, T, H, W) -> (B, outputs of all ways, T, H, W)."""
        ways = (self.b0(video), self.b1b(self.b1a(video)), self.b2b(self.b2a(video)), self.b3b(self.pool(video)))
        return torch.cat(ways, 1)


class Logits(nn.Module):
    """The mean of every 2 x 7 x 7 places, a linear map of it, and the mean of that over time."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.pool = nn.AvgPool3d((2, 7, 7), stride=1)
        self.conv3d = nn.Conv3d(inputs, outputs, 1)

    def forward(self, video: Tensor) -> Tensor:
        """(B, inputs, T, 7, 7) -> (B, outputs)."""
        return self.conv3d(self.pool(video)).mean((-3, -2, -1))


class I3d(nn.Sequential):
    """Videos -> 400 logits."""

    def __init__(self):
        super().__init__()
        layers = {
            "Conv3d_1a_7x7": Unit(3, 64, kernel=7, stride=2),
            "MaxPool3d_2a_3x3": Pool((1, 3, 3), (1, 2, 2)),
            "Conv3d_2b_1x1": Unit(64, 64),
            "Conv3d_2c_3x3": Unit(64, 192, kernel=3),
            "MaxPool3d_3a_3x3": Pool((1, 3, 3), (1, 2, 2)),
            "Mixed_3b": Mixed(192, 64, (96, 128), (16, 32), 32),
            "Mixed_3c": Mixed(256, 128, (128, 192), (32, 96), 64),
            "MaxPool3d_4a_3x3": Pool((3, 3, 3), (2, 2, 2)),
            "Mixed_4b": Mixed(480, 192, (96, 208), (16, 48), 64),
            "Mixed_4c": Mixed(512, 160, (112, 224), (24, 64), 64),
            "Mixed_4d": Mixed(512, 128, (128, 256), (24, 64), 64),
            "Mixed_4e": Mixed(512, 112, (144, 288), (32, 64), 64),
            "Mixed_4f": Mixed(528, 256, (160, 320), (32, 128), 128),
            "MaxPool3d_5a_2x2": Pool((2, 2, 2), (2, 2, 2)),
            "Mixed_5b": Mixed(832, 256, (160, 320), (32, 128), 128),
            "Mixed_5c": Mixed(832, 384, (192, 384), (48, 128), 128),
            "logits": Logits(1024, LOGITS),
        }
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, video: Tensor) -> Tensor:
        """RGB (B, 3, T, 224, 224) in [-1, 1], T >= 9 -> (B, 400).

        Raises:
            ValueError: the frames have another size, or are fewer than 9.
        """
        frames, *size = video.shape[-3:]
        if size != [SIZE, SIZE] or frames < SHORTEST:
            found = f"{frames} frames of {' x '.join(map(str, size))} px"
            raise ValueError(f"I3D: expected at least {SHORTEST} frames of {SIZE} x {SIZE} px, got {found}")
        return super().forward(video)


def as_input(frames: Tensor) -> Tensor:
    """What I3D is given: RGB (B, T, 3, H, W) in [0, 1] -> (B, 3, T, 224, 224) in [-1, 1].

    Frames are resized bilinearly with half-pixel centres and no smoothing (`align_corners=False, antialias=False`), as
    the ports to PyTorch do. TensorFlow's first code for FVD counts from the corners of pixels, and so gives somewhat
    different numbers for frames of other sizes.
    """
    sized = interpolate(frames.flatten(0, 1), (SIZE, SIZE), mode="bilinear", align_corners=False, antialias=False)
    return 2 * sized.unflatten(0, frames.shape[:2]).transpose(1, 2) - 1


@torch.inference_mode()
def black_to_white(i3d: I3d) -> float:
    """The squared distance between the logits of 16 black and of 16 white frames, which is known."""
    black = -torch.ones(1, 3, 16, SIZE, SIZE)
    return (i3d(black) - i3d(-black)).square().sum().item()
