"""The DVC stages: one module or package each; they meet only in files."""

import os

PARENT = os.getppid()
"""Who started this process, as first known: long imports follow."""
