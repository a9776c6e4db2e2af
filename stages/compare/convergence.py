"""How fast the methods learn: validation PCK against epochs and seconds of training."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stages.compare.rows import Results
from stages.compare.style import WIDTH, add_legend, method_styles
from stages.compare.summary import layout, name_block, of_block

STEP = 5
"""PCK levels in percent whose first epoch is told."""
COLUMNS = [
    "key", "label", "data", "size", "upscale", "backbone", "schedule", "seed", "level",
    "epoch", "trained_s",
]  # fmt: skip
AGAINST = {"epoch": "epoch", "trained_s": "training time (s)"}


def with_time(curves: pd.DataFrame) -> pd.DataFrame:
    """Add ``trained_s``: seconds of training up to the epoch's end.

    Validation and saving are not counted. Where the history names no seconds, NaN.
    """
    seconds = curves["seconds"].astype(float)
    return curves.assign(trained_s=seconds.groupby(curves["key"], sort=False).cumsum())


def reached(curves: pd.DataFrame) -> pd.DataFrame:
    """When each training first reached each level: a row per key and level.

    The level is of validation PCK in percent, in steps of 5; ``epoch`` is the first
    validated one that has it. AP is not measured during training.
    """
    rows = []
    for _, run in with_time(curves).dropna(subset="val_pck").groupby("key", sort=False):
        top = int(run["val_pck"].max() // STEP) * STEP
        for level in range(STEP, top + 1, STEP):
            first = run.loc[(run["val_pck"] >= level).idxmax()]
            rows.append(first.to_dict() | {"level": level})
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
    """Validation PCK against epochs (above) and seconds (below): a column per size."""
    curves = of_block(results.curves, block)
    styles = method_styles(results.labels.values())
    labels, sizes = layout(results, block)
    figure = Figure(figsize=(WIDTH, 5.6), layout="constrained")
    axes = figure.subplots(len(AGAINST), len(sizes), sharey=True, squeeze=False)
    for row, against in zip(axes, AGAINST, strict=True):
        for axis, size in zip(row, sizes, strict=True):
            draw_learning(axis, curves[curves["size"] == size], against, styles, labels)
            axis.set_ylabel("")
        row[0].set_ylabel("val. PCK (%)")
    for axis, size in zip(axes[0], sizes, strict=True):
        axis.set_title(size)
    title = f"{name_block(block)}\nband: one standard deviation over seeds"
    add_legend(figure, styles, labels, title)
    return figure


def draw_learning(
    axis: Axes, curves: pd.DataFrame, against: str, styles: dict, labels: list[str]
) -> None:
    """A line per method, the mean over its seeds; the band is one deviation."""
    for label in labels:
        line = over_seeds(curves[curves["label"] == label], "val_pck")
        line = line.dropna(subset=[against])
        if line.empty:
            continue
        x, y, spread = line[against], line["mean"], line["deviation"]
        axis.plot(x, y, **styles[label] | {"marker": ""}, label=label)
        if np.isfinite(spread).any():
            colour = styles[label]["color"]
            axis.fill_between(
                x, y - spread, y + spread, color=colour, alpha=0.2, lw=0
            )  # fmt: skip
    axis.set(xlabel=AGAINST[against], ylabel="val. PCK (%)", ylim=(0, None))
    axis.set_xlim(0, None)
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
