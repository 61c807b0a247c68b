"""Memory of training on a CPU."""

import os
import platform
import sys

TUNABLES = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=2147483647"


def restart_with_huge_pages() -> None:
    """Starts this command again with glibc told to use huge pages and to keep freed memory; returns if it has been.

    By default every tensor of more than a few megabytes is mapped anew, and the kernel fills it page by page, at each
    training step: a third of the time of a small model. glibc reads these settings only when a process starts. Does
    nothing where the C library is another, or where the user has set tunables.
    """
    if platform.libc_ver()[0] != "glibc" or "GLIBC_TUNABLES" in os.environ:
        return
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | {"GLIBC_TUNABLES": TUNABLES})
