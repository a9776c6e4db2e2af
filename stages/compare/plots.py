"""Figures of the metrics: each function takes results and gives a matplotlib Figure."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from stages.compare.rows import Results
from stages.compare.style import (
    WIDTH,
    add_legend,
    curve_style,
    empty_figure,
    method_styles,
)
from stages.compare.summary import blocks, layout, name_block, of_block, summarise

NOTHING = "no finished cells"

CURVES = {
    "loss": ("training loss", True),
    "val_error": ("val. error (input px)", False),
    "val_ap": ("val. AP (%)", True),
    "val_pck": ("val. PCK (%)", True),
}
"""Column of the history -> axis label, and whether the sizes share the scale."""


def ap_vs_size(results: Results) -> Figure:
    """AP of the own decoder by input size: a panel per block, a line per method."""
    own, styles, labels = _own(results)
    if own.empty:
        return empty_figure(NOTHING)
    panels = blocks(own)
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(WIDTH, 0.8 + 3.0 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, block in zip(axes, panels, strict=False):
        grid = layout(results, block)
        _lines_over_sizes(axis, of_block(own, block), "AP", styles, grid)
        axis.set_ylabel("AP (%)")
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    add_legend(figure, styles, labels, _name_panels(axes, panels))
    return figure


def error_vs_size(results: Results) -> Figure:
    """Mean error against input size, in pixels and relative to the input height.

    A row per block; left in input px, right in percent of the height, because a pixel
    at 64x48 is four times as large, relative to the person, as one at 256x192.
    """
    own, styles, labels = _own(results)
    own = own.dropna(subset="error_px")  # undefined for detected boxes
    if own.empty:
        return empty_figure(NOTHING)
    panels = blocks(own)
    height = 0.8 + 2.9 * len(panels)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(len(panels), 2, squeeze=False)
    for (pixels, percent), block in zip(axes, panels, strict=True):
        rows, grid = of_block(own, block), layout(results, block)
        _lines_over_sizes(pixels, rows, "error_px", styles, grid)
        _lines_over_sizes(percent, rows, "error_percent", styles, grid)
        pixels.set(ylabel="mean error (input px)", ylim=(0, None))
        percent.set(ylabel="mean error (% of input height)", ylim=(0, None))
    add_legend(figure, styles, labels, _name_panels(axes[:, 0], panels))
    return figure


def training_curves(results: Results, block: tuple) -> Figure:
    """Loss and validation figures against the epoch: a column per size."""
    curves = of_block(results.curves, block)
    styles = method_styles(results.labels.values())
    labels, sizes = layout(results, block)
    told = {name: how for name, how in CURVES.items() if curves[name].notna().any()}
    figure = Figure(figsize=(WIDTH, 0.6 + 2 * len(told)), layout="constrained")
    axes = figure.subplots(len(told), len(sizes), sharex="col", squeeze=False)
    for row, (column, (name, shared)) in zip(axes, told.items(), strict=True):
        for axis, size in zip(row, sizes, strict=True):
            _training_lines(axis, curves[curves["size"] == size], column, styles)
            if shared and axis is not row[0]:
                axis.sharey(row[0])
                axis.tick_params(labelleft=False)
        row[0].set_ylabel(name)
    if (curves["loss"] > 0).all():
        for axis in axes[0]:
            _log_scale(axis)
    for axis, size in zip(axes[0], sizes, strict=True):
        axis.set_title(size)
    for axis in axes[-1]:
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    add_legend(figure, styles, labels, name_block(block))
    return figure


def decoders(results: Results, block: tuple) -> Figure:
    """AP of every decoder on the same checkpoints: a panel per size.

    The own decoder of a method is filled, the others are hollow.
    """
    rows = of_block(summarise(results.rows), block)
    styles = method_styles(results.labels.values())
    labels, sizes = layout(results, block)
    names = list(dict.fromkeys(rows["decoder"]))
    users = {
        name: [label for label in labels if label in of_decoder["label"].array]
        for name, of_decoder in rows.groupby("decoder")
    }
    lane = max(0.32, 0.14 * max(len(sharing) for sharing in users.values()))
    figure = Figure(figsize=(WIDTH, 1.5 + lane * len(names)), layout="constrained")
    axes = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
    for axis, size in zip(axes, sizes, strict=True):
        for row in rows[rows["size"] == size].itertuples():
            sharing = users[row.decoder]
            offset = (sharing.index(row.label) + 0.5) / len(sharing) - 0.5
            y = names.index(row.decoder) + 0.7 * offset
            _decoder_dot(axis, row, y, styles[row.label])
        for place in range(0, len(names), 2):
            axis.axhspan(place - 0.5, place + 0.5, color="#F2F2F2", zorder=0)
        axis.set(title=size, xlabel="AP (%)")
        axis.grid(False, axis="y")
        axis.grid(True, axis="x")
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    title = f"{name_block(block)}\nfilled: the method's own decoder; hollow: others"
    add_legend(figure, styles, labels, title)
    return figure


def _name_panels(axes, panels: list[tuple]) -> str:
    """Name each of several panels; what a single one shows goes to the legend."""
    if len(panels) == 1:
        return name_block(panels[0])
    for axis, block in zip(axes, panels, strict=False):
        axis.set_title(name_block(block), fontsize="small", loc="left")
    return ""


def _log_scale(axis: Axes) -> None:
    """Logarithmic, with labels at 1, 2 and 5: a training spans few decades."""
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter(NullFormatter())


def _own(results: Results) -> tuple[pd.DataFrame, dict, list[str]]:
    """The own decoders' summary, all styles, and the labels in order."""
    summary = summarise(results.rows)
    own = summary[summary["own_decoder"]]
    present = set(own["label"])
    labels = [
        name for name in dict.fromkeys(results.labels.values()) if name in present
    ]
    return own, method_styles(results.labels.values()), labels


def _lines_over_sizes(
    axis: Axes, rows: pd.DataFrame, column: str, styles: dict, grid: tuple
) -> None:
    """A line per method; the band is one standard deviation over seeds."""
    labels, sizes = grid
    for label in labels:
        series = rows[rows["label"] == label]
        if series.empty:
            continue
        x = series["size"].map(sizes.index)
        axis.plot(x, series[column], label=label, **styles[label])
        spread = series[f"{column}_std"]
        axis.fill_between(
            x, series[column] - spread, series[column] + spread,
            color=styles[label]["color"], alpha=0.2, linewidth=0,
        )  # fmt: skip
    axis.set_xticks(range(len(sizes)), sizes)
    axis.set_xlim(-0.3, len(sizes) - 0.7)
    axis.set_xlabel("input size (height x width, px)")


def _training_lines(
    axis: Axes, curves: pd.DataFrame, column: str, styles: dict
) -> None:
    """A line per cell; epochs without a validation are bridged."""
    for _, run in curves.groupby("key", sort=False):
        run = run.dropna(subset=[column])
        if len(run):
            look = curve_style(styles[run["label"].iloc[0]], len(run))
            axis.plot(run["epoch"], run[column], **look, linewidth=1.2)


def _decoder_dot(axis: Axes, row, y: float, style: dict) -> None:
    face = style["color"] if row.own_decoder else "white"
    axis.errorbar(
        row.AP, y, xerr=row.AP_std, color=style["color"], marker=style["marker"],
        markerfacecolor=face, markersize=6,
    )  # fmt: skip
