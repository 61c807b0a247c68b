"""Which precision matrix products are to have on a machine."""

from typing import Literal

import torch


def used_precision(precision: str, device: torch.device) -> Literal["fp32", "bf16"]:
    """What "fp32", "bf16" or "auto" means on this device: what a run records, as "auto" is not the same everywhere."""
    return "bf16" if uses_bf16(precision, device) else "fp32"


def uses_bf16(precision: str, device: torch.device) -> bool:
    """Whether "fp32", "bf16" or "auto" means bf16 on this device.

    For "auto", if the processor has instructions for it and gains by them: others emulate it, up to 70 times slower
    than fp32, and an Intel processor with those of AVX-512 alone, as where a virtual machine hides its matrix unit, has
    half the rate of fp32 in bf16. Timing both instead would decide otherwise on a busy machine, and a run would not be
    resumed as it began.
    """
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known: dict = getattr(torch.cpu, "get_capabilities", dict)() if device.type == "cpu" else {}
    intel = str(known.get("cpu_name", "")).startswith("Intel")
    return known.get("amx_bf16", False) or (known.get("avx512_bf16", False) and not intel)
