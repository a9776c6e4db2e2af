"""What the panels of the oracle error show: where in a cell, where in the input."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from plugins.sizes import parse_size
from stages.compare.codec_report.oracle import Oracle, grid_of

PHASES = 8
"""Parts of a cell along each axis."""


@dataclass(frozen=True)
class View:
    """What the axes of the panels are.

    Attributes:
        title: of the picture.
        place: the bin ``(N, 2)`` of each joint, x then y, and the bins per axis.
        extent: left, right, bottom and top of a panel.
        aspect: height of a panel relative to its width.
        labels: of x and y.
    """

    title: str
    place: Callable[[Oracle], tuple[np.ndarray, tuple[int, int]]]
    extent: tuple[float, float, float, float]
    aspect: float
    labels: tuple[str, str]


def place_by_phase(oracle: Oracle) -> tuple[np.ndarray, tuple[int, int]]:
    """Bins of where in its heatmap cell a joint lies."""
    cells = oracle.joints / oracle.cell
    phase = cells - np.floor(cells + 0.5) + 0.5
    return (phase * PHASES).astype(int), (PHASES, PHASES)


def place_by_position(oracle: Oracle) -> tuple[np.ndarray, tuple[int, int]]:
    """Bins of where in the input a joint lies: the squares between cell centres."""
    grid = grid_of(oracle.size)
    unit = oracle.joints / (np.array(parse_size(oracle.size)) - 1)
    return (unit * grid).astype(int), grid


PHASE = View(
    title="Mean oracle error by where in its heatmap cell the joint lies",
    place=place_by_phase,
    extent=(-0.5, 0.5, 0.5, -0.5),
    aspect=1,
    labels=("x (cells)", "y (cells)"),
)
POSITION = View(
    title="Mean oracle error by where in the input the joint lies",
    place=place_by_position,
    extent=(0, 1, 1, 0),
    aspect=4 / 3,
    labels=("x / width", "y / height"),
)


def mean_errors(oracle: Oracle, view: View) -> np.ndarray:
    """Mean error in input px of the joints of each bin, rows are y; NaN where none."""
    bins, (across, down) = view.place(oracle)
    index = bins[:, 1] * across + bins[:, 0]
    count = np.bincount(index, minlength=across * down)
    distance = np.linalg.norm(oracle.errors, axis=-1)
    total = np.bincount(index, distance, minlength=across * down)
    mean = np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
    return mean.reshape(down, across)
