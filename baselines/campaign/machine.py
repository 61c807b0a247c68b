"""The machine that trainings are made on, in words."""

import platform
from pathlib import Path

import torch

CPU_INFO = Path("/proc/cpuinfo")


def machine() -> str:
    """The GPU that there is, or else the processor; and the version of torch."""
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
    else:
        named = CPU_INFO.read_text() if CPU_INFO.is_file() else ""
        names = [line.split(":")[1].strip() for line in named.splitlines() if line.startswith("model name")]
        name = f"one core of {names[0] if names else platform.processor() or platform.machine()}"
    return f"{name}, torch {torch.__version__}"
