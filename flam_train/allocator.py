"""Memory of training on a CPU."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of mallopt(3)


def keep_freed_memory() -> None:
    """Tells glibc to keep freed blocks for the next step instead of handing them back to the kernel.

    By default every tensor of more than a few megabytes is mapped anew and filled with zero pages by the kernel at each
    step, which takes as long as a third of a small model's arithmetic. Does nothing where the C library is another.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
