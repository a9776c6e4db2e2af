"""Memory that tensors free stays with the process."""

import ctypes
import sys

# Of glibc's malloc.h.
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4


def keep_freed_memory() -> None:
    """Have glibc keep what is freed for what is allocated next; for a whole process.

    By itself it gives large blocks and the free end of its heap back to the kernel, and
    asks for them again in the next training step, page by page: at 128x96 some 10,000
    page faults a step (benchmarks/freed_memory.py). The peak grows by what fragments.
    Other C libraries and systems are left as they are.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)
