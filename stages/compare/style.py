"""One look for all figures: a method has the same colour and marker everywhere."""

import re
from collections.abc import Callable
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

WIDTH = 9.0
"""Figure width in inches; text is readable at the README's 900 px."""

LEGEND = 0.7
"""Height in inches of a legend that the figures' own heights leave room for."""

# Okabe and Ito's palette without its yellow, which is too light for lines on white.
COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000",
)  # fmt: skip
MARKERS = "osD^vPX*"
DASHES = ("-", "--", ":", "-.")
MOST_MARKERS = 8
"""On a curve: more would hide it."""

RC = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "legend.frameon": False,
    "svg.hashsalt": "compare",
    # A name with two dollar signs is a name, not a formula.
    "text.parse_math": False,
}


def method_styles(labels) -> dict[str, dict]:
    """Colour, marker and dashes of each label, by its place among the sorted labels.

    Once the colours are used up they start again, with other dashes.
    """
    return {
        label: {
            "color": COLOURS[n % len(COLOURS)],
            "marker": MARKERS[n % len(MARKERS)],
            "linestyle": DASHES[n // len(COLOURS) % len(DASHES)],
        }
        for n, label in enumerate(sorted(set(labels)))
    }


def curve_style(style: dict, points: int) -> dict:
    """A method's style on a curve of so many points."""
    return style | {"markersize": 4, "markevery": -(-points // MOST_MARKERS)}


def add_legend(
    figure: Figure, styles: dict[str, dict], labels: list[str], title: str = ""
) -> None:
    """One legend above all panels, under what the figure shows.

    In as many columns as fit the figure, which becomes higher by its rows.
    """
    handles = [Line2D([], [], label=label, **styles[label]) for label in labels]
    renderer = FigureCanvasAgg(figure).get_renderer()
    for columns in range(min(6, max(1, len(handles))), 0, -1):
        legend = figure.legend(
            handles=handles, loc="outside upper center", ncols=columns, title=title
        )
        if columns == 1 or legend.get_window_extent(renderer).width < figure.bbox.width:
            break
        legend.remove()
    legend.get_title().set_multialignment("center")
    height = legend.get_window_extent(renderer).height / figure.dpi
    figure.set_figheight(figure.get_figheight() + max(0, height - LEGEND))


def scale_costs(axis: Axes) -> None:
    """A logarithmic axis with labels at 1, 2 and 5: all of them overlap."""
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter(NullFormatter())


def empty_figure(message: str) -> Figure:
    """A figure that says why there is nothing to see."""
    figure = Figure(figsize=(WIDTH, 1.5), layout="constrained")
    figure.text(0.5, 0.5, message, ha="center", va="center")
    return figure


def save(figure: Figure, folder: Path, stem: str, photos: bool = False) -> None:
    """Write PNG and SVG that are the same, byte for byte, whenever they are drawn.

    Photos gain nothing from SVG, which holds each as a text of its own.
    """
    figure.savefig(folder / f"{stem}.png", dpi=200)
    if not photos:
        figure.savefig(folder / f"{stem}.svg", metadata={"Date": None})


def save_blocks(
    draw_one: Callable[..., Figure],
    results: object,
    found: list[tuple],
    folder: Path,
    photos: bool = False,
) -> None:
    """Draw and save each block; the file's name is the function's.

    The first block's file has the plain name, so that links to it stay good.
    """
    stem = draw_one.__name__
    if not found:
        save(empty_figure("nothing finished"), folder, stem, photos)
    for n, block in enumerate(found):
        save(draw_one(results, block), folder, block_stem(stem, n, block), photos)


def block_stem(stem: str, number: int, block: tuple) -> str:
    """Name of a block's file, without characters that a path or a link cannot have."""
    if not number:
        return stem
    return re.sub(r"[^\w.-]+", "_", "-".join([stem, *block]))


def look():
    """Context in which figures are built and saved."""
    return matplotlib.rc_context(RC)
