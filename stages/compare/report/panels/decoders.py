"""Every decoder that reads a checkpoint's output, on the same checkpoints."""

import pandas as pd

from stages.compare.metrics import AP
from stages.compare.report.model import Entry, Material, Panel, Row, Table, name, number
from stages.compare.report.panels.common import each_block
from stages.compare.summary import layout, of_block, summarise

NOTE = (
    "AP of the same trained networks, decoded in every way that reads their output; "
    "small print: mean error in input px."
)


def decoders(material: Material) -> Panel:
    """A table per block, decoders by sizes, the method's own decoder first."""
    panel = Panel(text=[NOTE], sources=["metrics.csv"])
    for block, caption in each_block(material):
        rows = of_block(material.results.rows, block)
        labels, sizes = layout(material.results, block)
        keys = rows.groupby("label")["key"].unique()
        summary = summarise(rows)
        if summary.groupby("label")["decoder"].nunique().max() < 2:
            continue
        entries = []
        for label in [label for label in labels if label in keys]:
            of_label = summary[summary["label"] == label]
            of_label = of_label.sort_values("own_decoder", ascending=False)
            for decoder, own in of_label.groupby("decoder", sort=False):
                entries.append(_row(label, decoder, own, sizes, tuple(keys[label])))
        panel.tables.append(
            Table(caption, ["method", "decoder", *sizes], entries, names=2)
        )
    return panel


def _row(
    label: str, decoder: str, rows: pd.DataFrame, sizes: list[str], keys: tuple
) -> Row:
    by_size = rows.set_index("size")
    own = " (own)" if rows["own_decoder"].any() else ""
    entries = [_ap(by_size.loc[size]) if size in by_size.index else number(float("nan"))
               for size in sizes]  # fmt: skip
    return Row([name(label), name(decoder + own), *entries], keys)


def _ap(row: pd.Series) -> Entry:
    shown = AP.text(row["AP"], row["AP_std"])
    return Entry(shown, row["AP"], note=f"{row['error_px']:.2f} px")
