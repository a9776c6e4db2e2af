"""A training's saved states: each whole or not at all, and known by its hash.

MMEngine writes checkpoints in place and removes the old one first, so that a kill in
between loses both; and it stores objects that torch.load refuses to read safely.
"""

import contextlib
import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path

import torch

KEPT = 2


def save_state(state: dict, folder: Path, epochs: int, batches: int) -> None:
    """Write a state, then remove all but the last two.

    Args:
        state: tensors and plain numbers.
        folder: of one training.
        epochs: that are finished.
        batches: that are finished of the next one.
    """
    content = _serialise(state)
    name = f"epoch_{epochs:05d}_{batches:07d}-{_digest(content)}.pth"
    _write(content, folder / name)
    for old in saved_states(folder)[KEPT:]:
        old.unlink()


def load_state(folder: Path, say: Callable[[str], None]) -> dict | None:
    """The newest state that is what was written; None if there is none."""
    for path in saved_states(folder):
        content = path.read_bytes()
        if path.stem.endswith(f"-{_digest(content)}"):
            return torch.load(
                io.BytesIO(content), map_location="cpu", weights_only=True
            )
        say(f"{path} is damaged: it is not what was written; trying the one before")
    return None


def saved_states(folder: Path) -> list[Path]:
    """Files of states, the newest first."""
    return sorted(folder.glob("epoch_*.pth"), reverse=True)


def save_checkpoint(state: dict, path: Path) -> None:
    """``torch.save`` to a file beside ``path``, synced, then renamed to it."""
    _write(_serialise(state), path)


def _serialise(state: dict) -> memoryview:
    # In memory, for torch's own writer tells nothing of what the disk refuses.
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getbuffer()


def _digest(content: memoryview | bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _write(content: memoryview, path: Path) -> None:
    aside = path.with_name(".state.partial")
    try:
        with open(aside, "wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(aside, path)
        _sync(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise OSError(error.errno, error.strerror, str(path)) from error


def _sync(folder: Path) -> None:
    """Bring a folder's names to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
