"""Keeps freed memory in the process on CPU runs, where giving it back and faulting it in again costs more than the arithmetic."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Tell glibc's malloc to serve large blocks from its heap and never to shrink it; does nothing with other C libraries.

    Training allocates and frees gigabytes of tensors at every step. By default each large block is mapped anew and its pages are faulted in one by one:
    on virtual machines most of a step's time was spent in the kernel.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # not glibc
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, -1)
