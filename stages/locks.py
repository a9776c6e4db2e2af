"""One process at a time, on one host or on several that share a file system.

The kernel lets go of flock however a process ends. Between hosts that is not enough:
there flock may be each host's own, or stay held by a host that is gone. So the lock
file says who holds it and is touched as long as that process lives.
"""

import contextlib
import fcntl
import json
import os
import platform
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from stages.files import StageError

HEARTBEAT = 5.0
"""Seconds between two touches of a lock file."""
PATIENCE = 20.0
"""Seconds without a touch after which another host's process counts as dead."""


@contextlib.contextmanager
def only_one(path: Path, refusal: str) -> Iterator[None]:
    """Hold a lock file, which stays, emptied.

    Args:
        path: of the lock file.
        refusal: what to say of another process that holds it.

    Raises:
        StageError: another process holds it, or its file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while (lock := _take(path, refusal)) is None:
        pass
    ended = threading.Event()
    touching = threading.Thread(target=_touch, args=(lock, ended), daemon=True)
    touching.start()
    try:
        yield
    finally:
        ended.set()
        touching.join()
        lock.truncate(0)
        lock.close()


@contextlib.contextmanager
def hold(path: Path) -> Iterator[None]:
    """Hold a lock file; waits for the process of this host that has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_held(path: Path) -> bool:
    """Whether a living process holds a lock file."""
    try:
        with open(path) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _take(path: Path, refusal: str) -> IO | None:
    """The open, locked file; None where it was replaced meanwhile: try again."""
    lock = open(path, "a+")
    try:
        free = _is_free(lock, path)
        holder = _read(lock)
        foreign = holder.get("host") not in (None, platform.node())
        if not free and not foreign or foreign and _lives(path):
            raise StageError(f"{refusal} ({_name(holder)}); wait for it or end it")
        if foreign:
            print(f"{path}: its holder is dead ({_name(holder)})", file=sys.stderr)
        if not free:
            # Held by a host that is gone: a new file has a lock of its own.
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        elif _is_same(lock, path):
            _write(lock)
            taken, lock = lock, None
            return taken
        return None
    finally:
        if lock is not None:
            lock.close()


def _is_free(lock: IO, path: Path) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise StageError(
            f"{path}: its file system has no locks ({error.strerror}); let "
            f"{path.parent} be a link to another disk"
        ) from None
    return True


def _is_same(lock: IO, path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(lock.fileno()), os.stat(path))
    return False


def _lives(path: Path) -> bool:
    """Whether its holder touches the file; compares no clocks of different hosts."""
    first, deadline = _touched(path), time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        time.sleep(min(1.0, PATIENCE / 10))
        if _touched(path) != first:
            return True
    return False


def _touched(path: Path) -> int:
    """Time of the last touch; opening it makes network file systems ask again."""
    with contextlib.suppress(FileNotFoundError), open(path) as lock:
        return os.fstat(lock.fileno()).st_mtime_ns
    return 0


def _touch(lock: IO, ended: threading.Event) -> None:
    while not ended.wait(HEARTBEAT):
        with contextlib.suppress(OSError):
            os.utime(lock.fileno())


def _read(lock: IO) -> dict:
    lock.seek(0)
    with contextlib.suppress(ValueError):
        holder = json.loads(lock.read())
        return holder if isinstance(holder, dict) else {}
    return {}


def _write(lock: IO) -> None:
    lock.truncate(0)
    json.dump({"host": platform.node(), "process": os.getpid()}, lock)
    lock.flush()


def _name(holder: dict) -> str:
    known = holder.get("process", "unknown"), holder.get("host", "unknown")
    return "process {} on host {}".format(*known)
