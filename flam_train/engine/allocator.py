"""Memory of training on a CPU."""

import os
import platform
import sys
from pathlib import Path

TUNABLES = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=2147483647"
GPU_FILES = ("nvidia[0-9]*", "kfd", "dxg")
"""What a GPU looks like under /dev, asked before torch is imported: NVIDIA's, AMD's, or either's below Windows."""


def restart_with_huge_pages() -> None:
    """Starts this command again with glibc told to use huge pages and to keep freed memory; returns if it has been.

    By default every tensor of more than a few megabytes is mapped anew, and the kernel fills it page by page, at each
    training step: a third of the time of a small model. glibc reads these settings only when a process starts. Does
    nothing where the C library is another, where the user has set tunables, where a GPU computes, and for help.
    """
    if platform.libc_ver()[0] != "glibc" or "GLIBC_TUNABLES" in os.environ:
        return
    if {"-h", "--help"} & set(sys.orig_argv) or _gpu_computes():
        return
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | {"GLIBC_TUNABLES": TUNABLES})


def _gpu_computes(devices: Path = Path("/dev")) -> bool:
    """Whether there is a GPU that is not hidden from this process."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return not hidden and any(any(devices.glob(name)) for name in GPU_FILES)
