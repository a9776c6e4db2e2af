"""How many epochs and seconds a method needs."""

import pandas as pd

from stages.compare.convergence import NAMES, draw_learning, followed
from stages.compare.report.figures import small
from stages.compare.report.model import (
    Material,
    Panel,
    Picture,
    Row,
    Table,
    name,
    number,
)
from stages.compare.report.panels.common import figure, labels_of
from stages.compare.rows import BLOCK
from stages.compare.summary import blocks, layout, name_block, of_block

LEVELS = 3
NOTE = (
    "Validation AP (of trainings that do not tell it, PCK) by the method's own decoder "
    "in annotated boxes, without flip test; band: one standard deviation over seeds. "
    "Seconds are of training alone, on the machine at hand, with whatever else ran "
    "there."
)


def learning(material: Material) -> Panel:
    """AP against epochs and seconds, and when each level was reached."""
    curves = material.results.curves
    panel = Panel(text=[NOTE], legend=labels_of(material, curves))
    panel.sources.extend(["curves.csv", "convergence.csv"])
    for block in blocks(curves[BLOCK[:-1]]):
        _, sizes = layout(material.results, block)
        of_one = of_block(curves, block)
        column = followed(of_one)
        of_one = of_one.dropna(subset=column)
        by_size = [(size, of_one[of_one["size"] == size]) for size in sizes]
        by_size = [(size, rows) for size, rows in by_size if len(rows)]
        for against, word in (("epoch", "epochs"), ("trained_s", "seconds")):
            for size, rows in by_size:
                caption = f"{NAMES[column]} against {word}, {size}: {name_block(block)}"
                whole = curves[curves["key"].isin(rows["key"])]
                drawn = _plot(material, whole, column, against, caption)
                panel.figures.append(drawn)
        for size, rows in by_size:
            caption = f"{size}: {name_block(block)}"
            panel.tables.extend(_table(material, rows, NAMES[column], caption))
    return panel


def _plot(
    material: Material, curves: pd.DataFrame, column: str, against: str, caption: str
) -> Picture:
    """A line per method; the epochs without validation count as time too."""
    drawn, axis = small()
    labels = labels_of(material, curves)
    draw_learning(axis, curves, column, against, material.styles, labels)
    axis.set_ylim(0, None)
    return figure(drawn, caption)


def _table(
    material: Material, curves: pd.DataFrame, metric: str, caption: str
) -> list[Table]:
    """When the highest levels were reached that every training reached, if any."""
    reached = material.files["convergence"]
    reached = reached[reached["key"].isin(curves["key"])]
    levels = _levels(reached, curves["key"].nunique())
    rows = [
        _row(label, reached[reached["label"] == label], levels)
        for label in labels_of(material, curves)
    ]
    columns = ["method", *(f"epochs to {metric} {level} %" for level in levels)]
    note = f"Epochs to a validation {metric}; means over seeds, small print: seconds."
    return [Table(caption, columns, rows, note=note)] if levels else []


def _levels(reached: pd.DataFrame, runs: int) -> list[int]:
    """The highest levels that every training reached."""
    by_all = reached.groupby("level")["key"].nunique() == runs
    return sorted(by_all.index[by_all])[-LEVELS:]


def _row(label: str, reached: pd.DataFrame, levels: list[int]) -> Row:
    means = reached.groupby("level")[["epoch", "trained_s"]].mean()
    entries = []
    for level in levels:
        epoch, seconds = means.loc[level]
        note = "" if pd.isna(seconds) else f"{seconds:,.0f} s"
        entries.append(number(epoch, ".1f", note=note))
    return Row([name(label), *entries], tuple(reached["key"].unique()))
