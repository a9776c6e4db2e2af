"""What every stage needs of files: whole outputs, hashes, and errors that say why."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from stages import PARENT
from stages.errors import REMEDIES, StageError, explain
from stages.processes import end_with_parent
from stages.settings import PARAMS, Settings, load_params, read_params

__all__ = [
    "PARAMS",
    "Settings",
    "StageError",
    "hash_of",
    "hash_of_file",
    "load_params",
    "new_file",
    "new_folder",
    "read_params",
    "run_stage",
    "write_json",
]


@contextlib.contextmanager
def new_file(path: Path, mode: str = "w") -> Iterator[IO]:
    """Open a file that appears at ``path`` only once it is complete and on disk.

    What a killed run left aside is replaced. Processes that write it at once take
    turns.
    """
    path = Path(path)
    with _told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.partial")
        descriptor = _lock(aside, os.O_RDWR | os.O_CREAT, wait=True)
        with os.fdopen(descriptor, mode) as handle, _removed_on_failure(aside):
            handle.truncate(0)
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
            os.replace(aside, path)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder that is moved to ``path`` once the block succeeds.

    What a killed run left aside is removed first; an existing ``path`` is replaced.

    Raises:
        StageError: another process is writing it.
    """
    path = Path(path)
    with _told(path), contextlib.ExitStack() as stack:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.partial")
        descriptor = _lock(aside, os.O_RDONLY | os.O_DIRECTORY, wait=False)
        stack.callback(os.close, descriptor)
        for left in aside.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        with _removed_on_failure(aside):
            yield aside
            if path.exists():
                shutil.rmtree(path)
            os.replace(aside, path)


def _lock(aside: Path, flags: int, wait: bool) -> int:
    """Descriptor of a file or folder that no other process writes; makes it."""
    while True:
        if flags & os.O_DIRECTORY:
            aside.mkdir(exist_ok=True)
        try:
            descriptor = os.open(aside, flags, 0o666)
        except FileNotFoundError:  # another process has just moved it
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(descriptor)
            raise StageError(
                f"{aside}: another process is writing there; wait for it or end it"
            ) from None
        except OSError:
            return descriptor  # a file system without such locks
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(aside)):
                return descriptor
        os.close(descriptor)


@contextlib.contextmanager
def _removed_on_failure(aside: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn a full, read-only or forbidden disk into an error that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in REMEDIES:
            raise
        raise StageError(explain(error, path)) from error


def write_json(path: Path, value: object) -> None:
    """Write JSON whole or not at all; refuses NaN, which JSON does not know."""
    with new_file(path) as handle:
        json.dump(value, handle, indent=1, allow_nan=False)
        handle.write("\n")


def hash_of(value: object) -> str:
    """Short stable hash of settings (12 hex digits), whatever the order of keys."""
    text = json.dumps(value, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def hash_of_file(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage; a StageError becomes one line on stderr and exit status 1.

    The stage ends with the process that started it.
    """
    end_with_parent(PARENT)
    try:
        main()
    except StageError as error:
        message = str(error)
    except OSError as error:
        if error.errno not in REMEDIES:
            raise
        message = explain(error)
    else:
        return
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)
