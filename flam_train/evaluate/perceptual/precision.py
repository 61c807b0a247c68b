"""The precision that known answers hold in."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

CONVOLUTIONS: tuple[Any, ...] = (torch.backends.cudnn.conv, torch.backends.mkldnn.conv)  # type: ignore[attr-defined]
"""Their settings on GPUs and on CPUs; the older switch `cudnn.allow_tf32` cannot be read while they are changed."""


@contextmanager
def full_precision() -> Iterator[None]:
    """Inside, convolutions are those of float32: no TF32, no bfloat16, no autocast."""
    before = [convolution.fp32_precision for convolution in CONVOLUTIONS]
    try:
        for convolution in CONVOLUTIONS:
            convolution.fp32_precision = "ieee"
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        for convolution, precision in zip(CONVOLUTIONS, before, strict=True):
            convolution.fp32_precision = precision
