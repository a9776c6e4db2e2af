"""A job's share of the machine: its cores and its GPU."""

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from stages.sweep.record import LOCKS

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
GPUS = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Share:
    """What a job may use.

    Attributes:
        cores: that it is bound to; none: where it already is.
        environment: variables that say so to PyTorch.
    """

    cores: list[int] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def take_share(jobs: int | None) -> Iterator[Share]:
    """Take one of as many shares as there are jobs at once; waits until one is free.

    Args:
        jobs: at once on this machine, by all sweeps; negative: as many as cores. None:
            whoever started this process has given it its share.
    """
    if jobs is None:
        threads = os.environ.get("SLURM_CPUS_PER_TASK")
        yield Share(environment=dict.fromkeys(THREADS, threads) if threads else {})
        return
    cores = sorted(os.sched_getaffinity(0))
    jobs = jobs if jobs > 0 else len(cores)
    with contextlib.ExitStack() as stack:
        while (number := _take_number(jobs, stack)) is None:
            time.sleep(0.5)
        yield divide(cores, list_gpus(), number, jobs)


def divide(cores: list[int], gpus: list[str], number: int, jobs: int) -> Share:
    """The share of that number: cores side by side, GPUs in turn."""
    first, last = (len(cores) * n // jobs for n in (number, number + 1))
    mine = cores[first:last] or [cores[number % len(cores)]]
    environment = dict.fromkeys(THREADS, str(len(mine)))
    if gpus:
        environment[GPUS] = gpus[number % len(gpus)]
    return Share(mine, environment)


def list_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if GPUS in os.environ:
        return [name for name in os.environ[GPUS].split(",") if name]
    found = len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
    return [str(number) for number in range(found)]


def _take_number(jobs: int, stack: contextlib.ExitStack) -> int | None:
    """The first free number, held until the stack is closed; None: all are taken."""
    LOCKS.mkdir(parents=True, exist_ok=True)
    for number in range(jobs):
        lock = open(LOCKS / f"{socket.gethostname()}-{number}.share", "a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        stack.enter_context(lock)
        return number
    return None
