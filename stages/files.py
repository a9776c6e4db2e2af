"""What every stage needs of files: parameters, hashes, whole outputs, errors."""

import contextlib
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

PARAMS = Path("params.yaml")


class StageError(Exception):
    """Bad input or settings: one message that names the thing and the remedy."""


def load_params(section: str, key: str, path: Path = PARAMS) -> dict:
    """Settings of one item of params.yaml, for instance ``("cells", key)``.

    Raises:
        StageError: the file is missing or unreadable, or does not hold the item.
    """
    try:
        params = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise StageError(
            f"{path} not found: run from the repository's top folder, "
            "or write it with python -m stages.plan"
        ) from None
    except yaml.YAMLError as error:
        raise StageError(f"{path} is not valid YAML: {error}") from None
    items = (params or {}).get(section) or {}
    if key not in items:
        known = ", ".join(items) or "none"
        raise StageError(f"{path}: no {key!r} under {section!r}; it has: {known}")
    return items[key]


@contextlib.contextmanager
def new_file(path: Path, mode: str = "w") -> Iterator:
    """Open a file that appears at ``path`` only once it is complete and on disk."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = tempfile.NamedTemporaryFile(
        mode, dir=path.parent, prefix=f".{path.name}.", suffix=".partial", delete=False
    )
    try:
        with handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        os.chmod(handle.name, 0o666 & ~_umask())
        os.replace(handle.name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(handle.name)
        raise


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder that is moved to ``path`` once the block succeeds.

    What a killed run left aside is removed first; an existing ``path`` is replaced.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        yield aside
        if path.exists():
            shutil.rmtree(path)
        os.replace(aside, path)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


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
    """Run a stage; a StageError becomes one line on stderr and exit status 1."""
    try:
        main()
    except StageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
