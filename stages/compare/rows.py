"""Collect what the cells of params.yaml left, and check that it belongs together."""

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from plugins.sizes import parse_size
from stages.compare.cells import SETTINGS, count_pixels, label_methods, read_cells
from stages.files import StageError, hash_of

BLOCK = ["data", "upscale", "backbone", "schedule", "boxes"]
"""What the rows of one table have in common."""

COLUMNS = [
    "key", "data", "size", "upscale", "backbone", "method", "decoder", "own_decoder",
    "seed", "schedule", "boxes", "AP", "AP50", "AP75", "APM", "APL", "AR", "PCKh",
    "PCKh@0.1", "PCK", "error_px", "parameters", "gmacs", "persons_per_s",
    "git_revision", "git_dirty", "config_hash", "data_hash", "checkpoint_hash",
    "versions", "host", "device",
]  # fmt: skip
"""The columns of metrics.csv; AP to PCK in percent, errors in input px. PCKh is empty
where a dataset has no head sizes."""

HISTORY = ["epoch", "seconds", "loss", "val_ap", "val_pck", "val_error"]
ADDED = ("val_ap",)
"""Of these, what histories of earlier revisions lack."""

TEXT = (
    "key data size upscale backbone method decoder schedule boxes "
    "git_revision config_hash data_hash checkpoint_hash versions host device"
).split()
# Hashes of digits alone, or such as 12e4567, would otherwise be read as numbers.


@dataclass(frozen=True)
class Results:
    """What is finished, and what is not.

    Attributes:
        root: the repository's top folder.
        cells: every cell of params.yaml, by key and in its order.
        labels: the name that each cell's method has in tables and plots, by key.
        rows: metrics.csv of all finished cells, with the columns ``label``,
            ``pixels`` (of the input size, for sorting) and ``error_percent`` added.
        curves: key, the settings, label, epoch, seconds, loss, val_ap and val_pck
            (percent) and val_error (input px) of every cell that has a training
            history; NaN where an epoch had no validation.
        missing: the keys that have no metrics, or have them of other settings.
        stale: of these, the ones whose metrics are of other settings.
    """

    root: Path
    cells: dict[str, dict]
    labels: dict[str, str]
    rows: pd.DataFrame
    curves: pd.DataFrame
    missing: list[str]
    stale: list[str]


def collect(root: Path = Path("."), only: list[str] | None = None) -> Results:
    """Read the outputs of the cells that params.yaml names, and of no other.

    Args:
        root: the repository's top folder.
        only: keys of the cells wanted; None: all.

    Raises:
        StageError: params.yaml or a cell's table is unreadable, or cells that name the
            same data were evaluated on different data.
    """
    cells = read_cells(root / "params.yaml", only)
    labels = label_methods(cells)
    found, stale = {}, []
    for key, cell in cells.items():
        path = root / "results" / "cells" / key / "metrics.csv"
        if not path.exists():
            continue
        frame = _read_metrics(path, key)
        if set(frame["config_hash"]) == {hash_of(cell["train"])}:
            found[key] = frame
        else:
            stale.append(key)
    heights = {key: _input_height(root, cells[key]) for key in found}
    rows = _stack([*found.values()], COLUMNS).astype({"own_decoder": bool})
    rows["label"] = rows["key"].map(labels)
    rows["pixels"] = rows["size"].map(count_pixels)
    rows["error_percent"] = 100 * rows["error_px"] / rows["key"].map(heights)
    _refuse_mixed_data(rows)
    return Results(
        root=root,
        cells=cells,
        labels=labels,
        rows=rows,
        curves=_collect_curves(root, cells, labels, stale),
        missing=[key for key in cells if key not in found],
        stale=stale,
    )


def _stack(frames: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    if not frames:
        return pd.DataFrame(columns=columns)
    return pd.concat(frames, ignore_index=True)


def _read_metrics(path: Path, key: str) -> pd.DataFrame:
    frame = read_csv(path, COLUMNS)
    if set(frame["key"]) != {key}:
        raise StageError(
            f"{path}: expected rows of {key!r}, found {sorted(set(frame['key']))}; "
            f"run python -m stages.evaluate {key} again"
        )
    if not (frame.groupby("boxes")["own_decoder"].sum() == 1).all():
        raise StageError(
            f"{path}: expected exactly one own decoder for each kind of boxes; "
            f"run python -m stages.evaluate {key} again"
        )
    return frame


def read_csv(
    path: Path, columns: list[str], optional: tuple[str, ...] = ()
) -> pd.DataFrame:
    """Read the named columns of a table in which ``none`` is a word like any other.

    Args:
        optional: of the columns, those that are NaN where the file lacks them.

    Raises:
        StageError: the file is empty or lacks another column.
    """
    try:
        frame = pd.read_csv(
            path,
            dtype=dict.fromkeys(TEXT, str),
            keep_default_na=False,
            na_values={name: ["", "nan"] for name in columns if name not in TEXT},
        )
    except pd.errors.EmptyDataError:
        raise StageError(
            f"{path} is empty: run the stage that writes it again"
        ) from None
    absent = [name for name in columns if name not in (*frame, *optional)]
    if absent:
        raise StageError(
            f"{path} has no column {', '.join(absent)}: "
            "run the stage that writes it again"
        )
    return frame.reindex(columns=columns)


def _input_height(root: Path, cell: dict) -> float:
    """Height in px of what the network sees: an upscaled store is above `size`."""
    if cell["upscale"] == "none":
        return parse_size(cell["size"])[1]
    manifest = root / "data" / "stores" / cell["store"] / "manifest.json"
    if not manifest.exists():
        return float("nan")
    return json.loads(manifest.read_text())["input_size"][1]


def _refuse_mixed_data(rows: pd.DataFrame) -> None:
    for data, group in rows.groupby("data", sort=False):
        hashes = group.groupby("data_hash", sort=False)["key"].unique()
        if len(hashes) < 2:
            continue
        cells = "; ".join(f"{hash}: {', '.join(keys)}" for hash, keys in hashes.items())
        raise StageError(
            f"cells of data {data!r} were evaluated on different data ({cells}): "
            "bring them to the same data with dvc repro before comparing them"
        )


def _collect_curves(
    root: Path, cells: dict, labels: dict, stale: list[str]
) -> pd.DataFrame:
    frames = []
    for key, cell in cells.items():
        path = root / "runs" / key / "history.csv"
        if path.exists() and key not in stale:
            known = {"key": key, **{name: cell[name] for name in SETTINGS}}
            known |= {"label": labels[key], "pixels": count_pixels(cell["size"])}
            frames.append(read_csv(path, HISTORY, ADDED).assign(**known))
    return _stack(frames, ["key", *SETTINGS, "label", "pixels", *HISTORY])
