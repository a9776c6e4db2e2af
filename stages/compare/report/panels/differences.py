"""Every tested difference of AP, with what chance alone would do."""

import pandas as pd

from stages.compare.report.model import (
    Material,
    Panel,
    Row,
    Table,
    interval,
    name,
    number,
    probability,
)
from stages.compare.report.panels.common import each_block
from stages.compare.significance import ALPHA
from stages.compare.summary import layout, of_block

COLUMNS = [
    "size", "a", "b", "a - b", "p", "corrected p", "seeds", "spread over seeds",
]  # fmt: skip
NOTE = (
    "Paired: both methods on the same resampled images. Corrected for the number of "
    "comparisons of the table. Where one seed ran, a difference is one between two "
    "checkpoints, not yet between two methods."
)


def differences(material: Material) -> Panel:
    """A table per block; significant differences in bold."""
    panel = Panel(text=[NOTE], sources=["differences.csv"])
    frame = material.files["differences"]
    frame = frame[(frame["metric"] == "AP") & (~frame["same_checkpoint"])]
    for block, caption in each_block(material):
        _, sizes = layout(material.results, block)
        rows = of_block(frame, block)
        order = rows["size"].map(sizes.index).argsort(kind="stable")
        rows = rows.iloc[order]
        entries = [_row(row, material) for _, row in rows.iterrows()]
        if entries:
            panel.tables.append(Table(caption, COLUMNS, entries, names=3))
    return panel


def _row(row: pd.Series, material: Material) -> Row:
    significant = row["p_corrected"] <= ALPHA
    between = interval(row["low"], row["high"])
    labels = material.results.rows.query("size == @row['size'] and own_decoder")
    keys = labels.loc[labels["label"].isin([row["a"], row["b"]]), "key"]
    single = "one seed" if row["single_seed"] else ""
    return Row(
        [
            name(row["size"]),
            name(row["a"]),
            name(row["b"]),
            number(row["difference"], "+.1f", note=between, bold=significant),
            probability(row["p"]),
            probability(row["p_corrected"], bold=significant),
            number(row["seeds"], ".0f", note=single),
            number(row["seed_spread"], ".1f"),
        ],
        tuple(dict.fromkeys(keys)),
    )
