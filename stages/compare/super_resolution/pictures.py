"""The same persons in every treatment: what the network saw, and what it said."""

import pandas as pd
from matplotlib.figure import Figure

from stages.compare import pictures
from stages.compare.pictures import Prediction
from stages.compare.rows import Results
from stages.compare.style import empty_figure, method_styles

PERSONS = 6


def draw_persons(results: Results, rows: pd.DataFrame, title: str) -> Figure:
    """Persons as rows, treatments as columns, of the first method and seed.

    The first column is the ground truth over the last treatment's pixels: the sharp
    ones where they are among them. Persons are spread over the ranks of their OKS.

    Args:
        rows: of one group, as ``collect_treatments`` gives them, in order.
        title: what they have in common.
    """
    label = results.labels[
        next(key for key in results.cells if key in set(rows["key"]))
    ]
    said = _load(results, rows[rows["label"].eq(label)])
    chosen = pictures.choose_persons(list(said.values()), PERSONS)
    if not chosen:
        return empty_figure("no finished cell with predictions and a crop store")
    color = method_styles(results.labels.values())[label]["color"]
    sharpest = list(said.values())[-1].store
    columns = [pictures.TRUTH, *said]
    parts, stores = [(title, columns)], {title: sharpest}
    said_above = f"{title}: {label}"
    figure, (axes,) = pictures.panels(
        parts, stores, len(chosen), said_above, named=False
    )
    for name, column in zip(columns, axes.T, strict=True):
        shown = said.get(name)
        store = shown.store if shown else sharpest
        for axis, person in zip(column, chosen, strict=True):
            axis.set(xticks=[], yticks=[], frame_on=False)
            limb = color if shown else "white"
            pictures.draw_person(axis, store, person, shown, limb)
        column[0].set_title(pictures.wrapped(name), fontsize=7, pad=3)
    return figure


def _load(results: Results, rows: pd.DataFrame) -> dict[str, Prediction]:
    """Predictions by treatment, of the first seed of each."""
    said = {}
    for row in rows.drop_duplicates("treatment").itertuples():
        path = results.root / "results" / "cells" / row.key / "predictions.npz"
        store = results.root / "data" / "stores" / row.store
        if path.exists() and (store / "val" / "crops.npy").exists():
            said[row.treatment] = pictures.read_prediction(path, row.decoder, store)
    return said
