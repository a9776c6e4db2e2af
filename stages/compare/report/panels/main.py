"""The main table, published figures beside, and AP against size."""

from collections.abc import Iterator

import pandas as pd

from stages.compare.metrics import METRICS, Metric
from stages.compare.published import matching, read_published
from stages.compare.report.figures import over_sizes, ranking
from stages.compare.report.model import (
    Entry,
    Material,
    Panel,
    Picture,
    Row,
    Table,
    interval,
    name,
    number,
)
from stages.compare.report.panels.common import each_block, figure
from stages.compare.report.series import Series, own_series
from stages.compare.significance import Standing

LEFT_OUT = ("APM", "APL", "error_percent")
"""By the person's size there is a section, and a plot of the relative error."""
PLOTS = {
    "AP": "AP (%)",
    "kept": "share of the AP at {largest} (%)",
    "error_percent": "mean error (% of input height)",
}
NOTE = (
    "Bold: best of its size, and those whose difference from the best is not "
    "significant (corrected p above 0.05). Small print: 95 % interval over the "
    "validation images; ±: standard deviation over seeds. Rows that name a source are "
    "published figures on the data and boxes named there; nothing of them was trained "
    "or evaluated here."
)


def main_table(material: Material) -> Panel:
    """Every method at every size, sortable."""
    panel = Panel(sources=["metrics.csv", "intervals.csv"], text=[NOTE])
    for block, caption in each_block(material):
        series = own_series(material, block)
        panel.tables.append(_table(series, caption))
        if series.rows["label"].nunique() > 1:
            present = set(series.rows["label"])
            panel.legend.extend(label for label in series.labels if label in present)
            panel.figures.extend(_plots(series, caption, material.styles))
    return panel


def _plots(series: Series, caption: str, styles: dict) -> Iterator[Picture]:
    """Metrics against the size; where there is one size only, AP by method."""
    if len(series.sizes) == 1:
        drawn = ranking(series.rows, styles)
        yield figure(drawn, f"AP at {series.sizes[0]}: {caption}; bars: 95 % intervals")
        return
    rows = series.rows.assign(kept=_kept(series))
    for column, heading in PLOTS.items():
        heading = heading.format(largest=series.sizes[-1])
        drawn = over_sizes(rows, column, heading, series.sizes, styles)
        bars = "; bars: 95 % intervals" if column == "AP" else ""
        yield figure(drawn, f"{heading} by input size: {caption}{bars}")


def _kept(series: Series) -> pd.Series:
    """What is left of each method's own AP at the largest size, in percent."""
    largest = series.of_size(series.sizes[-1]).set_index("label")["AP"]
    return 100 * series.rows["AP"] / series.rows["label"].map(largest)


def _table(series: Series, caption: str) -> Table:
    """The metrics that are defined for these data."""
    shown = [m for m in METRICS if m.column not in LEFT_OUT]
    shown = [m for m in shown if series.rows[m.column].notna().any()]
    columns = ["method", "size", *(m.label for m in shown), "seeds", "decoder"]
    return Table(caption, columns, [*_rows(series, shown)], names=2)


def _rows(series: Series, shown: list[Metric]) -> Iterator[Row]:
    """Measured rows size by size, then what was published of their methods."""
    cited = matching(read_published(), series.rows)
    for size in series.sizes:
        standings = {m.column: series.standing(size, m) for m in shown}
        for _, row in series.of_size(size).iterrows():
            yield Row(_measured(row, shown, standings), row["keys"])
        for _, row in cited[cited["size"] == size].iterrows():
            yield Row(_published(row, shown), style="published")


def _measured(
    row: pd.Series, shown: list[Metric], standings: dict[str, Standing]
) -> list[Entry]:
    entries = [name(row["label"]), _size(row)]
    for metric in shown:
        bold = metric.spread and row["label"] in standings[metric.column].bold
        entries.append(_figure(metric, row, bold))
    return [*entries, number(row["seeds"], "d"), name(row["decoder"])]


def _figure(metric: Metric, row: pd.Series, bold: bool) -> Entry:
    deviation = row[f"{metric.column}_std"] if metric.spread else float("nan")
    value = row[metric.column]
    low, high = (row.get(f"{metric.column}_{side}") for side in ("low", "high"))
    return Entry(
        metric.text(value, deviation),
        "" if pd.isna(value) else float(value),
        note=interval(low, high, metric.format) if low is not None else "",
        bold=bold,
    )


def _published(row: pd.Series, shown: list[Metric]) -> list[Entry]:
    entries = [name(row["label"]), _size(row)]
    for metric in shown:
        value = row.get(metric.column, float("nan"))
        entries.append(number(value, metric.format))
    return [*entries, name(""), name("")]


def _size(row: pd.Series) -> Entry:
    height, width = row["size"].split("x")
    return Entry(row["size"], int(height) * int(width))
