"""How fast the methods learn: validation AP against epochs and seconds of training."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stages.compare.rows import Results
from stages.compare.style import WIDTH, add_legend, curve_style, method_styles
from stages.compare.summary import blocks, layout, name_block, of_block

STEP = 5
"""Levels in percent whose first epoch is told."""
COLUMNS = [
    "key", "label", "data", "size", "upscale", "backbone", "schedule", "seed",
    "metric", "level", "epoch", "trained_s",
]  # fmt: skip
NAMES = {"val_ap": "AP", "val_pck": "PCK"}
AGAINST = {"epoch": "epoch", "trained_s": "training time (s)"}


def with_time(curves: pd.DataFrame) -> pd.DataFrame:
    """Add ``trained_s``: seconds of training up to the epoch's end.

    Validation and saving are not counted. Where the history names no seconds, NaN.
    """
    seconds = curves["seconds"].astype(float)
    return curves.assign(trained_s=seconds.groupby(curves["key"], sort=False).cumsum())


def followed(curves: pd.DataFrame) -> str:
    """The column to compare trainings of one block by: AP, where any of them tells it.

    Those of earlier revisions tell only the PCK.
    """
    return "val_ap" if curves["val_ap"].notna().any() else "val_pck"


def reached(curves: pd.DataFrame) -> pd.DataFrame:
    """When each training first reached each level: a row per key and level.

    The level is of validation AP in percent (PCK, see `followed`), in steps of 5;
    ``epoch`` is the first validated one that has it.
    """
    rows = []
    for block in blocks(curves):
        of_one = with_time(of_block(curves, block))
        column = followed(of_one)
        for _, run in of_one.dropna(subset=column).groupby("key", sort=False):
            top = int(run[column].max() // STEP) * STEP
            for level in range(STEP, top + 1, STEP):
                first = run.loc[(run[column] >= level).idxmax()].to_dict()
                rows.append(first | {"metric": NAMES[column], "level": level})
    return pd.DataFrame(rows, columns=COLUMNS)


def over_seeds(curves: pd.DataFrame, column: str) -> pd.DataFrame:
    """Mean and sample deviation of a column by epoch, for runs that are repetitions.

    An epoch counts where all seeds have it: a mean over fewer would jump.
    """
    known = with_time(curves).dropna(subset=[column])
    epochs = known.groupby("epoch").agg(
        mean=(column, "mean"), deviation=(column, "std"), seeds=("key", "nunique"),
        trained_s=("trained_s", "mean"),
    )  # fmt: skip
    return epochs[epochs["seeds"] == known["key"].nunique()].reset_index()


def convergence(results: Results, block: tuple) -> Figure:
    """Validation AP against epochs (above) and seconds (below): a column per size."""
    curves = of_block(results.curves, block)
    column = followed(curves)
    styles = method_styles(results.labels.values())
    labels, sizes = layout(results, block)
    told = curves.dropna(subset=column)["label"].unique()
    labels = [label for label in labels if label in told]
    figure = Figure(figsize=(WIDTH, 5.6), layout="constrained")
    axes = figure.subplots(len(AGAINST), len(sizes), sharey=True, squeeze=False)
    for row, against in zip(axes, AGAINST, strict=True):
        for axis, size in zip(row, sizes, strict=True):
            rows = curves[curves["size"] == size]
            draw_learning(axis, rows, column, against, styles, labels)
        for axis in row[1:]:
            axis.set_ylabel("")
    for axis, size in zip(axes[0], sizes, strict=True):
        axis.set_title(size)
    # After all lines: a limit that is set no longer follows what is drawn later.
    axes[0][0].set_ylim(0, None)
    title = f"{name_block(block)}\nband: one standard deviation over seeds"
    add_legend(figure, styles, labels, title)
    return figure


def draw_learning(
    axis: Axes,
    curves: pd.DataFrame,
    column: str,
    against: str,
    styles: dict,
    labels: list[str],
) -> None:
    """A line per method, the mean over its seeds; the band is one deviation.

    The vertical axis is the caller's, who may share it between panels.

    Args:
        column: see `followed`.
        against: ``epoch`` or ``trained_s``.
    """
    for label in labels:
        line = over_seeds(curves[curves["label"] == label], column)
        line = line.dropna(subset=[against])
        if line.empty:
            continue
        x, y, spread = line[against], line["mean"], line["deviation"]
        axis.plot(x, y, **curve_style(styles[label], len(line)), label=label)
        if np.isfinite(spread).any():
            colour = styles[label]["color"]
            axis.fill_between(
                x, y - spread, y + spread, color=colour, alpha=0.2, lw=0
            )  # fmt: skip
    axis.set(xlabel=AGAINST[against], ylabel=f"val. {NAMES[column]} (%)")
    axis.set_xlim(0, None)
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
