"""Heatmaps near a keypoint, and where the offsets of their cells point to."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from stages.compare.pictures import name_size, panels, split, wrapped
from stages.compare.rows import Results
from stages.compare.style import empty_figure
from stages.compare.summary import layout, name_block, of_block
from stages.files import StageError

REACH = 4
"""Cells shown on each side of the keypoint's cell."""
STRONG = 0.3
"""Share of the shown maximum above which a cell's offset is drawn."""
CMAP = colormaps["viridis"].with_extremes(bad="#888888")
"""Grey is outside the map."""


@dataclass(frozen=True)
class Maps:
    """A few persons' maps, as evaluate writes them (maps.npz).

    Attributes:
        heatmaps: (P, K, h, w).
        offsets: (P, K, 2, h, w) in cells, or None.
        truth, decoded: (P, K, 2) in cells.
        visible: (P, K).
    """

    heatmaps: np.ndarray
    offsets: np.ndarray | None
    truth: np.ndarray
    decoded: np.ndarray
    visible: np.ndarray


def peaks(results: Results, block: tuple) -> Figure:
    """A keypoint per row, methods as columns, for each size.

    Shown is the heatmap around the true keypoint (cross); the arrows lead from the
    strong cells to where their offsets point, the dot is the decoded keypoint.
    """
    found = _load(results, block)
    labels, sizes = layout(results, block)
    if not found:
        return empty_figure("no finished cell that kept its maps")
    parts = split(found, labels, sizes)
    persons = max(len(maps.truth) for maps in found.values())
    figure, grids = panels(parts, {}, persons, name_block(block))
    for axes, (size, some) in zip(grids, parts, strict=True):
        for axis in axes.flat:
            axis.set(xticks=[], yticks=[], frame_on=False)
        shown = choose_keypoints(
            [maps for (at, _), maps in found.items() if at == size]
        )
        for column, label in zip(axes.T, some, strict=False):
            column[0].set_title(wrapped(label), fontsize=8, pad=3)
            for row, (axis, keypoint) in enumerate(zip(column, shown, strict=False)):
                _draw_peak(axis, found[size, label], row, keypoint)
        name_size(axes[0, 0], size, some)
    return figure


def choose_keypoints(shown: list[Maps]) -> list[int]:
    """For each person the labelled keypoint of median error, on average of methods."""
    error = np.mean(
        [np.linalg.norm(maps.decoded - maps.truth, axis=-1) for maps in shown], axis=0
    )
    chosen = []
    for person, visible in zip(error, shown[0].visible, strict=True):
        known = np.flatnonzero(visible > 0)
        order = known[np.argsort(person[known], kind="stable")]
        chosen.append(int(order[(len(order) - 1) // 2]) if len(order) else 0)
    return chosen


def _load(results: Results, block: tuple) -> dict[tuple[str, str], Maps]:
    """Maps by (size, label), of the first seed of each."""
    rows = of_block(results.rows, block).drop_duplicates(["size", "label"])
    found = {}
    for row in rows.itertuples():
        path = results.root / "results" / "cells" / row.key / "maps.npz"
        if path.exists():
            found[row.size, row.label] = _read(path)
    return found


def _read(path: Path) -> Maps:
    try:
        with np.load(path, allow_pickle=False) as file:
            offsets = file["offsets"].astype(np.float32) if "offsets" in file else None
            return Maps(
                heatmaps=file["heatmaps"].astype(np.float32),
                offsets=offsets,
                truth=file["truth"],
                decoded=file["decoded"],
                visible=file["visible"],
            )
    except (ValueError, KeyError, OSError) as error:
        raise StageError(
            f"{path}: {error}; run python -m stages.evaluate {path.parent.name} again"
        ) from None


def _draw_peak(axis: Axes, maps: Maps, person: int, keypoint: int) -> None:
    """The window around the true cell; the number is the error in cells."""
    heatmap = maps.heatmaps[person, keypoint]
    truth, decoded = maps.truth[person, keypoint], maps.decoded[person, keypoint]
    x, y = np.floor(truth + 0.5)
    around = REACH + 1
    padded = np.pad(heatmap, around, constant_values=np.nan)
    height, width = heatmap.shape
    edges = (-around, width + around, height + around, -around)
    axis.imshow(padded, cmap=CMAP, interpolation="none", extent=np.array(edges) - 0.5)
    axis.grid(False)
    axis.set(xlim=(x - REACH - 0.5, x + REACH + 0.5))
    axis.set(ylim=(y + REACH + 0.5, y - REACH - 0.5))
    if maps.offsets is not None:
        _draw_offsets(axis, heatmap, maps.offsets[person, keypoint])
    axis.plot(*truth, "+", color="white", markersize=9, markeredgewidth=1.5)
    axis.plot(*decoded, "o", color="#D55E00", markersize=4, markeredgecolor="white")
    error = np.linalg.norm(decoded - truth)
    axis.text(
        0.97, 0.03, f"{error:.1f}", transform=axis.transAxes, ha="right", fontsize=7,
        color="white", path_effects=[withStroke(linewidth=1.5, foreground="black")],
    )  # fmt: skip


def _draw_offsets(axis: Axes, heatmap: np.ndarray, offsets: np.ndarray) -> None:
    """Arrows from the strong cells to the places that their offsets name."""
    rows, columns = np.nonzero(heatmap > STRONG * heatmap.max())
    dx, dy = offsets[:, rows, columns]
    axis.quiver(
        columns, rows, dx, dy, angles="xy", scale_units="xy", scale=1, color="white",
        width=0.012, headwidth=4, headlength=4,
    )  # fmt: skip
