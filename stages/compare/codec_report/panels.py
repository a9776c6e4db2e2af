"""Pictures of the oracle error: a panel per codec and size, one scale of colour."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from stages.compare.codec_report.oracle import Oracle
from stages.compare.codec_report.views import View, mean_errors
from stages.compare.style import WIDTH

SCALE = LogNorm(0.01, 10)
"""Input px: from far below what matters to a third of a 32x24 input."""
COLOURS = "viridis"
HALVES = {"ours": "this repository", "mmpose": "MMPose's own codecs"}
LEFT, RIGHT, TOP, BOTTOM = 0.95, 0.1, 0.75, 1.1
"""Margins in inches: codecs' names, nothing, headings, axis labels and colour bar."""
GAP, MIDDLE = 0.06, 0.3
"""Inches between panels, and between the halves."""


def draw_panels(oracles: list[Oracle], view: View) -> Figure:
    """Codecs as rows; sizes as columns, left for ours and right for MMPose's.

    The number in a panel is its mean in input px.
    """
    found = {(one.codec, one.implementation, one.size): one for one in oracles}
    codecs = list(dict.fromkeys(one.codec for one in oracles))
    sizes = list(dict.fromkeys(one.size for one in oracles))
    figure, halves = _make_axes(len(codecs), len(sizes), view)
    for implementation, axes in halves.items():
        for row, codec in zip(axes, codecs, strict=True):
            for axis, size in zip(row, sizes, strict=True):
                _draw_panel(axis, found.get((codec, implementation, size)), view)
        for axis, size in zip(axes[0], sizes, strict=True):
            axis.set_title(size, fontsize=8, pad=3)
        middle = axes[0, 0].get_position().x0 + axes[0, -1].get_position().x1
        top = 1 - 0.42 / figure.get_figheight()
        text = HALVES[implementation]
        figure.text(middle / 2, top, text, ha="center", va="center", fontweight="bold")
    for axis, codec in zip(halves["ours"][:, 0], codecs, strict=True):
        axis.set_ylabel(codec, rotation=0, ha="right", va="center", fontsize=9)
    _label_corner(halves["ours"][-1, 0], view)
    _add_colour_bar(figure)
    figure.suptitle(view.title, fontsize="medium", y=1 - 0.1 / figure.get_figheight())
    return figure


def _make_axes(
    rows: int, columns: int, view: View
) -> tuple[Figure, dict[str, np.ndarray]]:
    """A figure made to measure, with axes ``(rows, columns)`` for each half."""
    half = (WIDTH - LEFT - RIGHT - MIDDLE) / 2
    wide = (half - (columns - 1) * GAP) / columns
    tall = wide * view.aspect
    height = TOP + rows * (tall + GAP) - GAP + BOTTOM
    figure = Figure(figsize=(WIDTH, height))
    halves = {}
    for n, implementation in enumerate(HALVES):
        left = LEFT + n * (half + MIDDLE)
        grid = figure.add_gridspec(
            rows, columns, wspace=GAP / wide, hspace=GAP / tall, left=left / WIDTH,
            right=(left + half) / WIDTH, bottom=BOTTOM / height, top=1 - TOP / height,
        )  # fmt: skip
        halves[implementation] = grid.subplots(squeeze=False)
    return figure, halves


def _draw_panel(axis: Axes, oracle: Oracle | None, view: View) -> None:
    """The binned error and its mean; a word where there is no such codec."""
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
    axis.spines[:].set_visible(False)
    if oracle is None:
        axis.text(
            0.5, 0.5, "not in\nMMPose", transform=axis.transAxes, ha="center",
            va="center", fontsize=7, color="#666666",
        )  # fmt: skip
        return
    axis.imshow(
        mean_errors(oracle, view).clip(SCALE.vmin, SCALE.vmax), norm=SCALE,
        cmap=COLOURS, extent=view.extent, aspect="auto", interpolation="none",
    )  # fmt: skip
    mean = np.linalg.norm(oracle.errors, axis=-1).mean()
    text = f"{mean:.2f}" if mean >= 0.005 else "< 0.01"
    if oracle.blank:
        text += f"\n{oracle.blank:.0%} blank"
    axis.text(
        0.96, 0.04, text, transform=axis.transAxes, ha="right", fontsize=7,
        color="white", path_effects=[withStroke(linewidth=1.5, foreground="black")],
    )  # fmt: skip


def _label_corner(axis: Axes, view: View) -> None:
    """Ticks and names of the axes on one panel: all panels have the same."""
    left, right, bottom, top = view.extent
    axis.set_xticks([left, (left + right) / 2, right])
    axis.tick_params(labelsize=7)
    axis.set_xlabel(f"across: {view.labels[0]}, down: {view.labels[1]}", fontsize=8)


def _add_colour_bar(figure: Figure) -> None:
    height = figure.get_figheight()
    axis = figure.add_axes((0.3, 0.45 / height, 0.4, 0.13 / height))
    mappable = ScalarMappable(SCALE, COLOURS)
    bar = figure.colorbar(
        mappable, cax=axis, orientation="horizontal", extend="both", format="{x:g}"
    )
    bar.set_label(
        "mean error (input px); numbers: over the whole input; "
        "blank: joints whose target is empty"
    )
