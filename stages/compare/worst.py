"""Where each method fails most: its own worst persons, with the ground truth."""

import numpy as np
from matplotlib.figure import Figure

from stages.compare.pictures import (
    Prediction,
    draw_person,
    load,
    name_size,
    panels,
    split,
    wrapped,
)
from stages.compare.rows import Results
from stages.compare.style import empty_figure, method_styles
from stages.compare.summary import layout, name_block

WORST = 5
FEWEST_LABELLED = 5
"""A person with fewer labelled keypoints says little about a method."""


def worst(results: Results, block: tuple) -> Figure:
    """For each size and method its persons of lowest OKS, the lowest first.

    The ground truth is white, the prediction has the method's colour; the number is
    the person's OKS.
    """
    labels, sizes = layout(results, block)
    said = load(results, block)
    if not said:
        return empty_figure("no finished cell with predictions and a crop store")
    first = {size: one.store for (size, _), one in reversed(said.items())}
    parts = split(said, labels, [size for size in sizes if size in first])
    styles = method_styles(results.labels.values())
    title = f"Worst of each method: {name_block(block)}"
    figure, grids = panels(parts, first, WORST, title)
    for axes, (size, some) in zip(grids, parts, strict=True):
        for axis in axes.flat:
            axis.set(xticks=[], yticks=[], frame_on=False)
        for column, label in zip(axes.T, some, strict=False):
            column[0].set_title(wrapped(label), fontsize=8, pad=3)
            _draw_worst(column, said[size, label], styles[label]["color"])
        name_size(axes[0, 0], size, some)
    return figure


def choose_worst(one: Prediction, count: int) -> list[int]:
    """Annotation ids of lowest OKS, among persons with enough labelled keypoints."""
    store = one.store
    labelled = (store.visible > 0).sum(1)
    enough = labelled >= min(FEWEST_LABELLED, labelled.max(initial=0))
    known = [person for person in store.annotation_id[enough] if person in one.row]
    oks = np.array([one.oks[one.row[person]] for person in known])
    order = np.argsort(oks, kind="stable")
    return [int(known[n]) for n in order[:count] if not np.isnan(oks[n])]


def _draw_worst(axes: np.ndarray, one: Prediction, colour: str) -> None:
    for axis, person in zip(axes, choose_worst(one, WORST), strict=False):
        draw_person(axis, one.store, person, None, "white")
        draw_person(axis, one.store, person, one, colour)
