"""Memory that tensors free stays with the process."""

import ctypes
import sys

# Of glibc's malloc.h.
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4


def keep_freed_memory() -> None:
    """Have glibc keep what is freed for what is allocated next; for a whole process.

    It maps blocks above 32 MB anew each time and gives them back when they are freed,
    and so does each training step with its maps: at 128x96 it then spends a sixth of
    its time on 10,000 page faults (benchmarks/freed_memory.py). The
    peak grows by what fragments. Other C libraries and systems are left as they are.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)
