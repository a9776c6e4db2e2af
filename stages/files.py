"""What every stage needs of files: parameters, hashes, whole outputs, errors."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import yaml

from stages import PARENT
from stages.processes import end_with_parent

PARAMS = Path("params.yaml")
REPLAN = "write the file again with python -m stages.plan"
REMEDIES = {
    errno.ENOSPC: "make room on its disk",
    errno.EDQUOT: "make room within your quota",
    errno.EROFS: "make its file system writable, or let it be a link to another one,",
    errno.EACCES: "change its permissions",
    errno.EPERM: "change its permissions",
}
"""What to do about what the system refuses."""


class StageError(Exception):
    """Bad input or settings: one message that names the thing and the remedy."""


class Settings(dict):
    """Settings that say where they are from when one is missing.

    Attributes:
        place: such as ``params.yaml: cells.KEY``.
    """

    place: str

    @classmethod
    def of(cls, values: dict, place: str) -> "Settings":
        """The same, nested ones too."""
        settings = cls(
            (name, cls.of(value, f"{place}.{name}") if type(value) is dict else value)
            for name, value in values.items()
        )
        settings.place = place
        return settings

    def __missing__(self, name: str) -> None:
        raise StageError(f"{self.place} has no {name!r}; {REPLAN}")


def read_params(section: str, path: Path = PARAMS) -> Settings:
    """One section of params.yaml: name -> settings.

    Raises:
        StageError: the file is missing or unreadable, or the section is not of that
            form.
    """
    try:
        params = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise StageError(
            f"{path} not found: run from the repository's top folder, "
            "or write it with python -m stages.plan"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StageError(f"{path} is not valid YAML: {error}; {REPLAN}") from None
    items = params.get(section) if isinstance(params, dict) else None
    items = {} if items is None else items
    if not isinstance(items, dict):
        raise StageError(f"{path}: {section!r} is not a mapping; {REPLAN}")
    for name, settings in items.items():
        if not isinstance(settings, dict):
            raise StageError(f"{path}: {section}.{name} is not a mapping; {REPLAN}")
    return Settings.of(items, f"{path}: {section}")


def load_params(section: str, key: str, path: Path = PARAMS) -> Settings:
    """Settings of one item of params.yaml, for instance ``("cells", key)``.

    Raises:
        StageError: the file is missing or unreadable, or does not hold the item.
    """
    items = read_params(section, path)
    if key not in items:
        known = ", ".join(items) or "none"
        raise StageError(f"{path}: no {key!r} under {section!r}; it has: {known}")
    return items[key]


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


def explain(error: OSError, path: Path | None = None) -> str:
    """What the system refused, where, and what to do about it."""
    place = error.filename or path or "a file"
    remedy = f"{REMEDIES[error.errno]} and run the same command again"
    return f"{place}: {error.strerror}; {remedy}"


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
