"""Which precision matrix products are to have on a machine."""

import torch
from torch.utils.benchmark import Timer

PROBE_SIDE, PROBES = 256, 5
FASTER = 1.5  # processors without instructions for bf16 emulate it, up to 70 times slower than fp32


def uses_bf16(precision: str, device: torch.device) -> bool:
    """Whether "fp32", "bf16" or "auto" means bf16 on this device; for "auto" both are tried."""
    if precision != "auto":
        return precision == "bf16"
    half, full = (matrix_rate(dtype, device, PROBE_SIDE) for dtype in (torch.bfloat16, torch.float32))
    return half > FASTER * full


def matrix_rate(dtype: torch.dtype, device: torch.device, side: int) -> float:
    """Floating-point operations per second of a product of square matrices."""
    factors = {name: torch.randn(side, side, device=device).to(dtype) for name in ("left", "right")}
    timer = Timer("left @ right", globals=factors, num_threads=torch.get_num_threads())
    return 2 * side**3 / timer.timeit(PROBES).mean
