"""AP against what it costs: operations, and time on the machine at hand."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.compare.rows import Results
from stages.compare.statistics.cost import costs
from stages.compare.style import (
    WIDTH,
    add_legend,
    empty_figure,
    method_styles,
    scale_costs,
)
from stages.compare.summary import layout, name_block, of_block

COSTS = {
    "gmacs": "GMACs per person, one pass",
    "ms": "ms per person, network and decoder, with flip test",
}
"""Column -> axis label."""


def pareto(results: Results, block: tuple) -> Figure:
    """AP against operations and time: a dot per method and size, mean over seeds.

    See `draw_pareto`.
    """
    cost = costs(results).drop(columns=["parameters", "gmacs"])
    own = of_block(results.rows, block).query("own_decoder").merge(cost, on="key")
    if own.empty:
        return empty_figure("no finished cells")
    own["ms"] = own["network_ms"] + own["decode_ms"]
    means = own.groupby(["label", "size"], sort=False)[["AP", *COSTS]].mean()
    rows = means.reset_index()
    styles = method_styles(results.labels.values())
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    for axis, column in zip(figure.subplots(1, 2, sharey=True), COSTS, strict=True):
        draw_pareto(axis, rows, column, styles)
        axis.set_xlabel(COSTS[column])
    figure.axes[0].set_ylabel("AP (%)")
    labels = [one for one in layout(results, block)[0] if one in set(rows["label"])]
    add_legend(figure, styles, labels, name_block(block))
    return figure


def find_front(cost: np.ndarray, ap: np.ndarray) -> np.ndarray:
    """Places of what nothing beats at the same or a lower cost, by rising cost."""
    order = np.lexsort((-ap, cost))
    best = np.maximum.accumulate(np.append(-np.inf, ap[order]))[:-1]
    return order[ap[order] > best]


def draw_pareto(
    axis: Axes, rows: pd.DataFrame, column: str, styles: dict
) -> list[tuple[NamedTuple, Line2D]]:
    """AP against a cost: a dot per row, with its input size below the lowest of a size.

    The grey line joins what nothing beats at the same or a lower cost.

    Args:
        rows: label, size, AP and the cost's column; without cost or AP not drawn.
        column: the cost's.

    Returns:
        Each row drawn, and its dot.
    """
    rows = rows.dropna(subset=[column, "AP"])
    front = rows.iloc[find_front(rows[column].to_numpy(), rows["AP"].to_numpy())]
    axis.plot(front[column], front["AP"], color="#999999", linewidth=1, zorder=1)
    dots = []
    for row in rows.itertuples():
        style = styles[row.label] | {"linestyle": ""}
        (dot,) = axis.plot(getattr(row, column), row.AP, **style, zorder=2)
        dots.append((row, dot))
    # One label for the methods of a size, which lie close to one another.
    for size, of_size in rows.groupby("size", sort=False):
        lowest = of_size.loc[of_size["AP"].idxmin()]
        place = (lowest[column], lowest["AP"])
        axis.annotate(
            size, place, (0, -12), textcoords="offset points", ha="center", fontsize=8
        )
    scale_costs(axis)
    axis.margins(x=0.12, y=0.12)
    return dots
