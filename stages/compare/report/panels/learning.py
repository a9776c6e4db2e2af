"""How many epochs and seconds a method needs."""

import pandas as pd

from stages.compare.convergence import draw_learning
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
    "Validation PCK during training, without flip test; band: one standard deviation "
    "over seeds. Seconds are of training alone, on the machine at hand, with whatever "
    "else ran there. AP is not measured during training."
)


def learning(material: Material) -> Panel:
    """PCK against epochs and seconds, and when each level was reached."""
    curves = material.results.curves
    panel = Panel(text=[NOTE], legend=labels_of(material, curves))
    panel.sources.extend(["curves.csv", "convergence.csv"])
    for block in blocks(curves[BLOCK[:-1]]):
        _, sizes = layout(material.results, block)
        of_one = of_block(curves.dropna(subset="val_pck"), block)
        by_size = [(size, of_one[of_one["size"] == size]) for size in sizes]
        by_size = [(size, rows) for size, rows in by_size if len(rows)]
        for against, word in (("epoch", "epochs"), ("trained_s", "seconds")):
            for size, rows in by_size:
                caption = f"PCK against {word}, {size}: {name_block(block)}"
                panel.figures.append(_plot(material, curves, rows, against, caption))
        for size, rows in by_size:
            panel.tables.extend(_table(material, rows, f"{size}: {name_block(block)}"))
    return panel


def _plot(
    material: Material,
    curves: pd.DataFrame,
    rows: pd.DataFrame,
    against: str,
    caption: str,
) -> Picture:
    """A line per method; the epochs without validation count as time too."""
    drawn, axis = small()
    whole = curves[curves["key"].isin(rows["key"])]
    labels = labels_of(material, rows)
    draw_learning(axis, whole, against, material.styles, labels)
    return figure(drawn, caption)


def _table(material: Material, curves: pd.DataFrame, caption: str) -> list[Table]:
    """When the highest levels were reached that every training reached, if any."""
    reached = material.files["convergence"]
    reached = reached[reached["key"].isin(curves["key"])]
    levels = _levels(reached, curves["key"].nunique())
    rows = [
        _row(label, reached[reached["label"] == label], levels)
        for label in labels_of(material, curves)
    ]
    columns = ["method", *(f"epochs to {level} %" for level in levels)]
    note = "Epochs to a validation PCK; means over seeds, small print: seconds."
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
