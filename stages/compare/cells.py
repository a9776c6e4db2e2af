"""The cells that params.yaml names, and what their methods are called in tables."""

from pathlib import Path

from plugins.sizes import parse_size
from stages.files import StageError, read_params

SETTINGS = ("data", "size", "upscale", "backbone", "method", "schedule", "seed")
"""The settings of a cell that have a column of their own."""


def read_cells(path: Path) -> dict[str, dict]:
    """The ``cells`` of params.yaml: key -> settings.

    Raises:
        StageError: the file is missing, unreadable or has no cells.
    """
    cells = read_params("cells", path)
    if not cells:
        raise StageError(f"{path} names no cells: write it with python -m stages.plan")
    return cells


def label_methods(cells: dict[str, dict]) -> dict[str, str]:
    """Name the method of each cell, by key.

    Cells that differ in more than the seed are no repetitions of one another: the
    label names the settings in which a cell differs from the first one of the same
    data, size, upscaling, backbone, method and schedule.
    """
    usual, labels = {}, {}
    for key, cell in cells.items():
        group = tuple(cell[name] for name in SETTINGS if name != "seed")
        mine = _flatten({k: v for k, v in cell.items() if k not in SETTINGS})
        labels[key] = cell["method"] + _changes(mine, usual.setdefault(group, mine))
    return labels


def count_pixels(size: str) -> int:
    """Pixels of an input size such as ``64x48``."""
    width, height = parse_size(size)
    return width * height


def _changes(mine: dict, first: dict) -> str:
    """Settings that differ, by the last part of their name where that is enough."""
    names = sorted(mine.keys() | first.keys())
    changed = [name for name in names if mine.get(name) != first.get(name)]
    short = [name.rpartition(".")[2] for name in changed]
    shown = short if len(set(short)) == len(short) else changed
    pairs = zip(shown, changed, strict=True)
    text = ", ".join(f"{name}={mine.get(full)}" for name, full in pairs)
    return f" ({text})" if text else ""


def _flatten(settings: dict, prefix: str = "") -> dict:
    """Nested settings by dotted name; seeds are left out at every depth."""
    flat = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{name}.")
        elif name != "seed":
            flat[prefix + name] = value
    return flat
