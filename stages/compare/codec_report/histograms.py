"""Histograms of the coarse error, with the Gaussian and the mixture fitted to it."""

import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.compare.codec_report.coarse import (
    MIXTURE,
    fit_mixture,
    read_coarse_errors,
)
from stages.compare.rows import Results
from stages.compare.style import COLOURS, WIDTH, empty_figure
from stages.compare.summary import layout, name_block, of_block

CELLS = np.arange(-8, 9)
"""Whole cells of error that are shown."""
SMALLEST = 1e-4
"""Share of the keypoints where the logarithmic axis begins."""
FITS = {
    1: {"color": COLOURS[1], "linestyle": "--", "label": "one Gaussian"},
    MIXTURE: {"color": COLOURS[0], "linestyle": "-", "label": "three Gaussians"},
}
"""How the fit of so many components is drawn."""


def coarse_error(results: Results, block: tuple) -> Figure:
    """Histograms of the coarse error: methods as rows, sizes as columns.

    Errors along x and along y together, over all seeds. The fits are shown by their
    density per cell at whole cells, which is what CAL's loss reads.
    """
    pooled = _pool(results, block)
    if not pooled:
        return empty_figure("no finished cell with heatmaps")
    labels, sizes = layout(results, block)
    labels = [label for label in labels if label in {one for one, _ in pooled}]
    sizes = [size for size in sizes if size in {one for _, one in pooled}]
    figure = Figure(figsize=(WIDTH, 0.9 + 1.45 * len(labels)), layout="constrained")
    axes = figure.subplots(
        len(labels), len(sizes), sharex=True, sharey=True, squeeze=False
    )
    for row, label in zip(axes, labels, strict=True):
        row[0].set_ylabel(f"{textwrap.fill(label, 18)}\nshare")
        for axis, size in zip(row, sizes, strict=True):
            _draw_histogram(axis, pooled.get((label, size)))
    for axis, size in zip(axes[0], sizes, strict=True):
        axis.set_title(size)
    for axis in axes[-1]:
        axis.set_xlabel("coarse error (cells)")
    drawn = next(axis for axis in axes.flat if axis.lines)
    figure.legend(
        *drawn.get_legend_handles_labels(), loc="outside upper center", ncols=3,
        title=name_block(block),
    )  # fmt: skip
    return figure


def _pool(results: Results, block: tuple) -> dict[tuple[str, str], np.ndarray]:
    """Errors ``(M, 2)`` of all seeds of a block, by label and size."""
    errors = read_coarse_errors(results)
    rows = of_block(results.rows, block)
    own = rows[rows["own_decoder"] & rows["key"].isin(errors.keys())]
    return {
        names: np.concatenate([errors[key] for key in keys.unique()])
        for names, keys in own.groupby(["label", "size"], sort=False)["key"]
    }


def _draw_histogram(axis: Axes, errors: np.ndarray | None) -> None:
    """Bars and fits of one method at one size; a word where there are none."""
    axis.set_yscale("log")
    axis.set(ylim=(SMALLEST, 1.5), xticks=CELLS[::4])
    if errors is None:
        axis.text(
            0.5, 0.5, "not evaluated, or\nno heatmaps", transform=axis.transAxes,
            ha="center", va="center", fontsize=8, color="#666666",
        )  # fmt: skip
        return
    share = (errors.reshape(-1, 1) == CELLS).mean(0)
    axis.bar(CELLS, share, width=0.9, color="#C4C4C4", label="validation keypoints")
    for components, look in FITS.items():
        fitted = fit_mixture(errors, components).per_cell(CELLS)
        axis.plot(CELLS, fitted, **look, marker=".", markersize=4, linewidth=1.2)
    last = CELLS[-1]
    beyond = (np.abs(errors) > last).mean()
    deviation = np.sqrt(errors.var(0, dtype=float).mean())
    axis.text(
        0.98, 0.97, f"std {deviation:.2f}\nbeyond {last}: {beyond:.2%}", fontsize=7,
        transform=axis.transAxes, ha="right", va="top",
    )  # fmt: skip
