"""Giving memory back: what a burst of large requests took does not stay with the process.

glibc raises the size from which a block is mapped by itself each time such a block is freed, up to 32 MB; from then on
large bodies and replies come out of the heap, and what is freed below a block that lives on is never given back.
"""

import contextlib
import ctypes

_MMAP_THRESHOLD, _TRIM_THRESHOLD, _ARENAS = -3, -1, -8  # malloc.h
BLOCK = 128 << 10  # bytes from which a block is mapped by itself, and unmapped when it is freed
HEAP_TOP = 1 << 20  # free bytes at the heap's end that are kept


def trim() -> None:
    """Give back what is free inside the heap. Takes some milliseconds, and holds no lock of Python's meanwhile."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def give_back_freed() -> bool:
    """Have freed memory given back from now on; False: this C library has no such setting."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, BLOCK) and mallopt(_TRIM_THRESHOLD, HEAP_TOP) and mallopt(_ARENAS, 2))
