"""The page's plots: one small figure each, which a phone can show at reading size."""

import textwrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.compare.pareto import draw_pareto
from stages.compare.report.model import interval
from stages.compare.report.svg import INK, explain

SIZE = (4.4, 3.1)
"""Width and height in inches: with 9 point text about the width of a phone."""
LABEL = 24
"""Letters of a method's name in a line beside an axis."""
KINDS = {
    "good": "#999999",
    "jitter": "#56B4E9",
    "inversion": "#E69F00",
    "swap": "#CC79A7",
    "miss": "#D55E00",
}
"""Kinds of error (Ronchi & Perona, ICCV 2017), in Okabe and Ito's colours."""


def small(height: float = SIZE[1]) -> tuple[Figure, Axes]:
    """An empty figure with one axis."""
    figure = Figure(figsize=(SIZE[0], height), layout="constrained")
    return figure, figure.subplots()


def over_sizes(
    series: pd.DataFrame, column: str, heading: str, sizes: list[str], styles: dict
) -> Figure:
    """A metric against the input size, with its interval where there is one.

    Args:
        series: label, size, the metric's column; ``<column>_low`` and ``_high`` or not.
        heading: of the vertical axis.
        sizes: in their order.
    """
    ends = [f"{column}_low", f"{column}_high"]
    series = series.reindex(columns=["label", "size", column, *ends])
    series.columns = ["label", "size", "value", "low", "high"]
    figure, axis = small()
    for label, rows in series.groupby("label", sort=False):
        rows = rows.sort_values("size", key=lambda column: column.map(sizes.index))
        x = rows["size"].map(sizes.index)
        colour = styles[label]["color"]
        axis.plot(x, rows["value"], **styles[label])
        axis.vlines(x, rows["low"], rows["high"], color=colour, lw=1, alpha=0.6)
        for place, row in zip(x, rows.itertuples(), strict=True):
            text = f"{label}, {row.size}: {heading} {row.value:.1f}"
            between = interval(row.low, row.high)
            _dot(axis, place, row.value, styles[label], text, between)
    axis.set_xticks(range(len(sizes)), sizes)
    axis.set(xlabel="input size (height x width, px)", ylabel=heading, ylim=(0, None))
    axis.set_xlim(-0.3, len(sizes) - 0.7)
    return figure


def ranking(series: pd.DataFrame, styles: dict) -> Figure:
    """AP of the methods of one size, the best above.

    Args:
        series: label, AP, AP_low, AP_high.
    """
    series = series.sort_values("AP", ascending=False)
    names = [textwrap.fill(label, LABEL) for label in series["label"]]
    figure, axis = small(_tall(names))
    for place, row in enumerate(series.itertuples()):
        look = styles[row.label] | {"linestyle": ""}
        axis.hlines(place, row.AP_low, row.AP_high, color=look["color"], lw=1.2)
        text = f"{row.label}: AP {row.AP:.1f}"
        _dot(axis, row.AP, place, look, text, interval(row.AP_low, row.AP_high))
    axis.set_yticks(range(len(names)), names, fontsize="small")
    axis.set(xlabel="AP (%)", ylim=(len(names) - 0.5, -0.5), xlim=(0, None))
    return figure


def by_keypoint(rows: pd.DataFrame, styles: dict) -> Figure:
    """AP of each keypoint: a line of dots per keypoint, a dot per method.

    Args:
        rows: label, keypoint, AP.
    """
    names = list(dict.fromkeys(rows["keypoint"]))
    figure, axis = small(0.9 + 0.24 * len(names))
    for label, own in rows.groupby("label", sort=False):
        y = own["keypoint"].map(names.index)
        look = styles[label] | {"linestyle": ""}
        axis.plot(own["AP"], y, **look, alpha=0.85)
        for row, place in zip(own.itertuples(), y, strict=True):
            text = f"{label}, {row.keypoint}: AP {row.AP:.1f}"
            _dot(axis, row.AP, place, look, text)
    axis.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axis.set(xlabel="AP (%)", ylim=(len(names) - 0.5, -0.5), xlim=(0, None))
    return figure


def error_bars(rows: pd.DataFrame) -> Figure:
    """Shares of the kinds of error: a bar per method.

    Args:
        rows: label, kind, share (in percent).
    """
    labels = list(dict.fromkeys(rows["label"]))
    names = [textwrap.fill(label, LABEL) for label in labels]
    figure, axis = small(_tall(names))
    for place, label in enumerate(labels):
        shares = rows[rows["label"] == label].set_index("kind")["share"]
        left = 0.0
        for kind in [kind for kind in KINDS if kind in shares]:
            wide = shares[kind]
            (bar,) = axis.barh(
                place, wide, left=left, height=0.72, color=KINDS[kind],
                label=kind if not place else None,
            )  # fmt: skip
            explain(bar, f"{label}: {kind} {wide:.1f} %")
            left += wide
    axis.set_yticks(range(len(labels)), names, fontsize="small")
    axis.set(xlabel="share of keypoints (%)", xlim=(0, 100))
    axis.invert_yaxis()
    axis.grid(False)
    figure.legend(loc="outside upper center", ncols=len(KINDS), handlelength=0.9,
                  columnspacing=0.9, handletextpad=0.4, borderpad=0)  # fmt: skip
    return figure


def calibration_lines(rows: pd.DataFrame, styles: dict) -> Figure:
    """Mean OKS against mean score; on the diagonal a score says what it promises.

    Args:
        rows: label, score, oks, count.
    """
    figure, axis = small()
    axis.plot([0, 1], [0, 1], color=INK, linestyle=":", lw=1)
    for label, own in rows.groupby("label", sort=False):
        own = own.sort_values("score")
        axis.plot(own["score"], own["oks"], **styles[label])
        for row in own.itertuples():
            text = f"{label}: score {row.score:.2f}, OKS {row.oks:.2f}"
            _dot(axis, row.score, row.oks, styles[label], f"{text}, {row.count:.0f}")
    axis.set(xlabel="mean score", ylabel="mean OKS", xlim=(0, 1), ylim=(0, 1))
    return figure


def pareto(rows: pd.DataFrame, cost: str, heading: str, styles: dict) -> Figure:
    """AP against a cost, as `draw_pareto` has it.

    Args:
        rows: label, size, AP and the cost's column.
    """
    figure, axis = small()
    for row, dot in draw_pareto(axis, rows, cost, styles):
        value = f"{heading} {getattr(row, cost):.3g}"
        explain(dot, f"{row.label}, {row.size}: AP {row.AP:.1f}, {value}")
    axis.set(xlabel=heading, ylabel="AP (%)")
    return figure


def _tall(names: list[str]) -> float:
    """Height in inches that wrapped names beside an axis need."""
    lines = sum(name.count("\n") + 1 for name in names)
    return 1.1 + 0.12 * lines + 0.2 * len(names)


def _dot(axis: Axes, x, y, style: dict, text: str, note: str = "") -> None:
    """A marker that says its figure."""
    (dot,) = axis.plot([x], [y], **style | {"linestyle": ""})
    explain(dot, f"{text} ({note})" if note else text)
