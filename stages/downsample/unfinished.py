"""What a killed run leaves: beside the store, and enough to go on from there.

``.<store>.partial/`` holds a lock and ``<key>/``, named by all that the store depends
on. It is beside the store because a store may be large and data/stores a link to
another disk: so finishing is one renaming. (DVC and git pass over .partial.)
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from stages.files import StageError, new_file


@contextlib.contextmanager
def unfinished_store(folder: Path, key: str) -> Iterator[Path]:
    """Give the folder in which the store ``folder`` is made; kept if making it fails.

    What runs with another key left is removed. Once the block succeeds, the subfolder
    ``store`` is moved to ``folder``, in place of what is there.

    Raises:
        StageError: another process is making this store.
    """
    beside = folder.with_name(f".{folder.name}.partial")
    work, lock = beside / key, beside / "lock"
    with only_one(lock, folder):
        for other in set(beside.iterdir()) - {work, lock}:
            shutil.rmtree(other) if other.is_dir() else other.unlink()
        (work / "store").mkdir(parents=True, exist_ok=True)
        yield work
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(work / "store", folder)
        sync(folder.parent)
        shutil.rmtree(work)
        lock.unlink()
        with contextlib.suppress(OSError):  # the next process may be in it already
            beside.rmdir()


@contextlib.contextmanager
def only_one(path: Path, folder: Path) -> Iterator[None]:
    """Hold the lock; the kernel lets go of it however the process ends."""
    lock = None
    while lock is None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            lock = try_lock(path, folder)
    with lock:
        yield


def try_lock(path: Path, folder: Path) -> IO | None:
    """Lock a file; None where its last holder removed it meanwhile: try again."""
    lock = open(path, "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock.fileno()), os.stat(path)):
            return lock
    except BlockingIOError:
        lock.close()
        raise StageError(
            f"{folder}: another process is making this store; wait for it or end it"
        ) from None
    lock.close()
    return None


class Progress:
    """The crops' file and, in a file of its own, which tasks have written theirs.

    A task is noted only after its crops are on disk, so that neither a kill nor a loss
    of power leaves one that is noted and not there.

    Attributes:
        done: ``(tasks,)`` bool.
    """

    def __init__(self, crops: Path, record: Path, shape: tuple, tasks: int) -> None:
        """Go on with what is there, or make a file for crops ``(N, h, w, 3)`` uint8.

        The record alone is there where a run was killed after it had moved the store.

        Raises:
            StageError: the disk has no room for them.
        """
        self.crops = crops
        self._finished: list[int] = []
        if not (record.exists() and crops.exists()):
            create_crops(crops, shape)
            with new_file(record, "wb") as handle:
                np.save(handle, np.zeros(tasks, dtype=bool))
            sync(record.parent)
        self.done = np.load(record, mmap_mode="r+")

    def finish(self, task: int) -> None:
        """Remember a task until the next ``commit``."""
        self._finished.append(task)

    def commit(self) -> None:
        """Bring the crops of the finished tasks to disk, then note the tasks."""
        sync(self.crops)
        self.done[self._finished] = True
        self.done.flush()
        self._finished.clear()


def create_crops(path: Path, shape: tuple) -> None:
    """Make an empty array's file; nothing is written to it yet."""
    needed, free = int(np.prod(shape)), shutil.disk_usage(path.parent).free
    if needed > free:
        raise StageError(
            f"{path}: {needed / 1e9:.1f} GB needed and {free / 1e9:.1f} GB free: make "
            "room, or let data/stores be a link to a larger disk"
        )
    np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    sync(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Wait until a file or folder is on disk, whoever wrote it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
