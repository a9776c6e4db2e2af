"""What every stage needs of processes: an end together with who started them."""

import ctypes
import os
import signal
import sys


def end_with_parent(parent: int | None = None) -> None:
    """Ask the kernel for SIGTERM when the process that started this one ends.

    DVC leaves what it started alive, and joblib's workers would go on for minutes.

    Args:
        parent: its id where that may have ended meanwhile; this process then ends too.
    """
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)
        if parent is not None and os.getppid() != parent:
            sys.exit(f"process {parent}, which started this one, has ended")
