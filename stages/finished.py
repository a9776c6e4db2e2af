"""Results that outlive the process which made them, and what DVC does after a kill.

A stage's outputs count only once DVC has noted them. Killed before that, DVC removes
them and starts the stage again, which then finds them here.
"""

import contextlib
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from stages.files import hash_of_file, new_folder, write_json

FOLDER, HASHES = "finished", "hashes.json"
KEPT_SECONDS = 3600
"""DVC's note takes seconds; those of other trainings go after an hour."""


@contextlib.contextmanager
def finishing(scratch: Path) -> Iterator[Path]:
    """Give a folder for results, which takes the place of all else in scratch."""
    with new_folder(scratch / FOLDER) as aside:
        yield aside
        hashes = {path.name: hash_of_file(path) for path in aside.iterdir()}
        write_json(aside / HASHES, hashes)
    for path in set(scratch.iterdir()) - {scratch / FOLDER}:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    remove_old(scratch.parent)


def is_finished(scratch: Path) -> bool:
    """Whether results are there and are still what was written."""
    folder = scratch / FOLDER
    try:
        hashes = json.loads((folder / HASHES).read_text())
        return all(hash_of_file(folder / name) == hashes[name] for name in hashes)
    except (OSError, ValueError):
        return False


def copy_finished(scratch: Path, folder: Path) -> None:
    """Copy the results to where they belong, whole or not at all."""
    leave_out = shutil.ignore_patterns(HASHES)
    with new_folder(folder) as aside:
        shutil.copytree(scratch / FOLDER, aside, dirs_exist_ok=True, ignore=leave_out)


def remove_old(folder: Path) -> None:
    """Remove what other runs finished more than an hour ago."""
    for finished in folder.glob(f"*/{FOLDER}"):
        with contextlib.suppress(FileNotFoundError):  # another process is as quick
            if finished.stat().st_mtime < time.time() - KEPT_SECONDS:
                shutil.rmtree(finished.parent)
