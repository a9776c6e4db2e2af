"""The cells that params.yaml names, and what their methods are called in tables."""

from pathlib import Path

from plugins.sizes import parse_size
from stages.files import StageError, read_params

SETTINGS = ("data", "size", "upscale", "backbone", "method", "schedule", "seed")
"""The settings of a cell that have a column of their own."""


def read_cells(path: Path, only: list[str] | None = None) -> dict[str, dict]:
    """The ``cells`` of params.yaml, or only those of these keys: key -> settings.

    Raises:
        StageError: the file is missing, unreadable or has no such cells.
    """
    cells = read_params("cells", path)
    if not cells:
        raise StageError(f"{path} names no cells: write it with python -m stages.plan")
    for key, cell in cells.items():
        _check_names(path, key, cell)
    unknown = set(only or ()) - cells.keys()
    if unknown:
        raise StageError(f"{path} names no cell {', '.join(sorted(unknown))}")
    return {key: cell for key, cell in cells.items() if not only or key in only}


def label_methods(cells: dict[str, dict]) -> dict[str, str]:
    """Name the method of each cell, by key.

    Cells that differ in more than the seed are no repetitions of one another: the
    label names the settings in which a cell differs from the first one of the same
    data, size, upscaling, backbone, method and schedule.
    """
    usual, labels, settings = {}, {}, {}
    for key, cell in cells.items():
        group = tuple(cell[name] for name in SETTINGS if name != "seed")
        mine = _flatten({k: v for k, v in cell.items() if k not in SETTINGS})
        first = usual.setdefault(group, mine)
        label = cell["method"] + _changes(_telling(mine, cells), _telling(first, cells))
        whole = _whole(mine, cells)
        if settings.setdefault((group, label), whole) != whole:
            label = cell["method"] + _changes(mine, first)
        labels[key] = "".join(c if c.isprintable() else " " for c in label)
    return labels


def count_pixels(size: str) -> int:
    """Pixels of an input size such as ``64x48``."""
    width, height = parse_size(size)
    return width * height


def _check_names(path: Path, key: str, cell: dict) -> None:
    """Refuse names that would leave their folder or break a line."""
    for name in (key, cell["store"]):
        if not name.isprintable() or Path(name).name != name or name == "..":
            raise StageError(
                f"{path}: cell {key!r}: {name!r} is no name of a folder: write the "
                "file again with python -m stages.plan"
            )
    for name in SETTINGS:
        if not str(cell[name]).isprintable():
            raise StageError(
                f"{path}: cell {key!r}: {name} {cell[name]!r} has characters that "
                "cannot be shown: give it another name"
            )


def _telling(settings: dict, cells: dict[str, dict]) -> dict:
    """Without what follows from other settings; a start by the cell's data and method.

    A training that starts from another cell names it as ``init.from``; the path of its
    checkpoint says the same.
    """
    kept = {
        name: value
        for name, value in settings.items()
        if name != "init" and not name.startswith("code.")
        if not isinstance(value, list) or not any(isinstance(v, dict) for v in value)
    }
    start = cells.get(kept.get("train.init.from"))
    if start:
        kept["train.init.from"] = f"{start['data']} {start['method']}"
    return kept


def _whole(settings: dict, cells: dict[str, dict]) -> dict:
    """Settings in which a start stands by its own, so that its seed does not count."""
    start = cells.get(settings.get("train.init.from"))
    if start is None:
        return settings
    return settings | {"init": None, "train.init.from": _flatten(start)}


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
