"""When freed memory goes back to the system.

On CPU runs, returning it and faulting it in again costs more than the arithmetic.
"""

from __future__ import annotations

import ctypes
import gc
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Let glibc's malloc serve large blocks from its heap and never shrink it.

    Does nothing with other C libraries.

    Training allocates and frees gigabytes of tensors at every step. By default each
    large block is mapped anew and its pages are faulted in one by one: on virtual
    machines most of a step's time was spent in the kernel.
    """
    if glibc := _glibc():
        glibc.mallopt(_M_MMAP_MAX, 0)
        glibc.mallopt(_M_TRIM_THRESHOLD, -1)


def give_back_freed_memory() -> None:
    """Return freed memory to the system once, where the kind of work changes.

    Blocks of one kind seldom fit the next, and the process would grow.
    """
    gc.collect()
    if glibc := _glibc():
        glibc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """The C library if it is glibc's: others have neither call."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "malloc_trim") and hasattr(library, "mallopt") else None
