"""What the methods cost, and whether AP is worth it."""

import pandas as pd

from stages.compare.report.figures import pareto
from stages.compare.report.model import Material, Panel, Row, Table, name, number
from stages.compare.report.panels.common import each_block, figure, labels_of
from stages.compare.report.series import averaged, own_series
from stages.compare.summary import of_block

COLUMNS = [
    "method", "size", "AP", "parameters (M)", "GMACs", "network (ms)", "decode (ms)",
    "training (s)",
]  # fmt: skip
NOTE = (
    "Milliseconds are per person on the machine at hand, with flip test; the grey line "
    "joins what nothing beats at lower cost."
)


def cost(material: Material) -> Panel:
    """AP against GMACs and milliseconds, and all costs as a table."""
    frame = averaged(material, "cost", [])
    panel = Panel(text=[NOTE], legend=labels_of(material, frame))
    panel.sources.extend(["cost.csv", "metrics.csv"])
    for block, caption in each_block(material):
        series = own_series(material, block)
        costs = of_block(frame, block)
        rows = series.rows[["label", "size", "AP"]].merge(costs, on=["label", "size"])
        rows["ms"] = rows["network_ms"] + rows["decode_ms"]
        for column, words in (("gmacs", "GMACs"), ("ms", "ms per person")):
            if rows[column].notna().any():
                drawn = pareto(rows, column, words, material.styles)
                panel.figures.append(figure(drawn, f"AP against {words}: {caption}"))
        entries = [_row(row) for _, row in rows.iterrows()]
        panel.tables.append(Table(caption, COLUMNS, entries, names=2))
    return panel


def _row(row: pd.Series) -> Row:
    return Row(
        [
            name(row["label"]),
            name(row["size"]),
            number(row["AP"]),
            number(row["parameters"] / 1e6, ".2f"),
            number(row["gmacs"], ".3f"),
            number(row["network_ms"], ".2f"),
            number(row["decode_ms"], ".3f"),
            number(row["train_s"], ",.0f"),
        ],
        row["keys"],
    )
