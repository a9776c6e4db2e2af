"""Who does the work: joblib's processes or threads here, or a cluster's workers."""

import contextlib
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator

from joblib import Parallel, parallel_config

from stages.files import StageError
from stages.processes import end_with_parent

BACKENDS = ("loky", "threading", "dask", "ray")
BATCHES = 8
"""Tasks per worker and round where a backend gives no result before the last."""


@contextlib.contextmanager
def start_workers(
    backend: str, jobs: int | None
) -> Iterator[Callable[[Iterable], Iterator]]:
    """Start workers; gives what runs tasks (``joblib.delayed``) and yields results.

    Results come as they are ready. Tasks are taken from their iterable as workers need
    them, so that they are never all in memory.

    Args:
        backend: one of BACKENDS. dask and ray: the cluster that DASK_SCHEDULER_ADDRESS
            or RAY_ADDRESS names, else one on this machine; its workers must see the
            same files at the same paths and be able to import this package.
        jobs: workers; one per core, or all of the cluster, by default.

    Raises:
        StageError: an unknown backend, or its package is missing.
    """
    start = {"dask": start_dask, "ray": start_ray}
    if backend not in BACKENDS:
        raise StageError(f"backend {backend!r}: expected {', '.join(BACKENDS)}")
    settings = {"backend": backend, "n_jobs": jobs or -1}
    if backend == "loky":
        settings |= {"initializer": end_with_parent, "initargs": (os.getpid(),)}
    with contextlib.ExitStack() as stack:
        if backend in start:
            stack.enter_context(start[backend](jobs))
        stack.enter_context(parallel_config(**settings))
        yield run_in_rounds if backend == "ray" else run


def run(tasks: Iterable) -> Iterator:
    """Results of tasks as they are ready."""
    return Parallel(return_as="generator_unordered", batch_size=1)(tasks)


def run_in_rounds(tasks: Iterable) -> Iterator:
    """The same where results come only all at once: so many tasks at a time."""
    tasks = iter(tasks)
    with Parallel(batch_size=1) as parallel:
        while some := list(itertools.islice(tasks, BATCHES * parallel.n_jobs)):
            yield from parallel(some)


@contextlib.contextmanager
def start_dask(jobs: int | None) -> Iterator[None]:
    """Connect to Dask's scheduler; importing it registers it with joblib."""
    try:
        import dask
        from dask.distributed import Client
    except ImportError:
        raise StageError(_missing("dask", "distributed")) from None
    known = dask.config.get("scheduler-address", None)
    here = {"n_workers": jobs, "threads_per_worker": 1, "dashboard_address": None}
    with Client() if known else Client(**here):
        yield


@contextlib.contextmanager
def start_ray(jobs: int | None) -> Iterator[None]:
    """Connect to Ray and register it with joblib."""
    try:
        import ray
        from ray.util.joblib import register_ray
    except ImportError:
        raise StageError(_missing("ray", "ray")) from None
    register_ray()
    # Its workers start elsewhere and would not find this package.
    environment = {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}}
    cores = None if "RAY_ADDRESS" in os.environ else jobs
    ray.init(num_cpus=cores, runtime_env=environment)
    try:
        yield
    finally:
        ray.shutdown()


def _missing(backend: str, package: str) -> str:
    return (
        f"--backend {backend}: Python package {package!r} is not installed; "
        f"pip install {package}, or leave --backend out"
    )
