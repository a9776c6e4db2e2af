"""The tables of a comparison: what stands in them and what is bold."""

from dataclasses import dataclass

import pandas as pd

from stages.compare.metrics import ABSENT, AP, METRICS, Metric
from stages.compare.published import matching, read_published
from stages.compare.rows import Results
from stages.compare.summary import blocks, layout, of_block, summarise

ONE_SEED = (
    "one seed: a ranking of checkpoints, and not yet of methods; intervals and tested "
    "differences say what other images would change"
)
SEVERAL_SEEDS = "mean ± sample standard deviation over seeds; no ± where one seed ran"
PUBLISHED = (
    "rows that name a source are published figures, on the data and boxes named there: "
    "nothing of them was trained or evaluated here"
)


@dataclass(frozen=True)
class Table:
    """A table ready to be written.

    Attributes:
        caption: what it shows.
        notes: what to know when reading it.
        text: the entries; the first ``names`` columns name the row.
        bold: which entries are bold, in the shape of ``text``.
        names: number of leading columns that are left-aligned.
    """

    caption: str
    notes: list[str]
    text: pd.DataFrame
    bold: pd.DataFrame
    names: int


def build_tables(results: Results) -> dict[tuple, list[Table]]:
    """The tables of every block: AP by size, all metrics, the decoder ablation."""
    summary = summarise(results.rows)
    tables = {}
    for block in blocks(summary):
        rows = of_block(summary, block)
        labels, sizes = layout(results, block)
        tables[block] = [
            ap_table(rows, labels, sizes),
            metrics_table(rows),
            decoder_table(rows, labels, sizes),
        ]
    return tables


def ap_table(rows: pd.DataFrame, labels: list[str], sizes: list[str]) -> Table:
    """Methods by sizes, the published figures of a method below it.

    Args:
        rows: the summary of one block.
        labels: the rows in order, whether finished or not.
        sizes: the columns in order.
    """
    own = rows[rows["own_decoder"]]
    text, bold = _by_size(own, ["label"], ["size"], sizes)
    published = matching(read_published(), own)
    cited = published.assign(text=published["AP"].map(AP.text)).pivot(
        index=["method", "label"], columns="size", values="text"
    )
    method_of = dict(zip(own["label"], own["method"], strict=True))
    parts = []
    for label in labels:
        parts.append(text.reindex([label]))
        if method_of.get(label) in cited.index.get_level_values("method"):
            parts.append(cited.loc[method_of[label]])
    text = pd.concat(parts).reindex(columns=sizes).fillna(ABSENT)
    bold = bold.reindex(text.index, fill_value=False)
    notes = ["best of each size in bold", _seed_note(rows)]
    notes += [PUBLISHED] if len(published) else []
    return _table("AP by method and input size, own decoder", notes, text, bold)


def metrics_table(rows: pd.DataFrame) -> Table:
    """Every metric of the own decoder, one row per size and method."""
    own = rows[rows["own_decoder"]].set_index(["size", "label", "decoder"])
    # PCKh, for one, is not defined on every dataset.
    shown = [m for m in METRICS if own[m.column].notna().any()]
    text = pd.DataFrame({m.label: own[m.column].map(m.text) for m in shown})
    text.insert(0, "seeds", own["seeds"].astype(str))
    bold = pd.DataFrame(False, index=text.index, columns=text.columns)
    for m in (m for m in shown if m.spread):
        sizes = own.groupby("size")[m.column]
        bold[m.label] = sizes.transform(lambda values, m=m: best(m, values))
    notes = ["means over seeds; best of each size in bold"]
    return _table("All metrics, own decoder", notes, text, bold)


def decoder_table(rows: pd.DataFrame, labels: list[str], sizes: list[str]) -> Table:
    """AP of every decoder that fits a method's checkpoint."""
    own = rows["own_decoder"]
    rows = rows.assign(decoder=rows["decoder"].mask(own, rows["decoder"] + " (own)"))
    text, bold = _by_size(rows, ["label", "decoder"], ["label", "size"], sizes)
    first = rows.assign(place=rows["label"].map(labels.index), other=~own)
    first = first.sort_values(["place", "other"], kind="stable")
    order = first[["label", "decoder"]].drop_duplicates()
    order = pd.MultiIndex.from_frame(order)
    notes = ["best of each checkpoint in bold", _seed_note(rows)]
    text, bold = text.loc[order].fillna(ABSENT), bold.loc[order]
    return _table("AP by decoder, on the same checkpoints", notes, text, bold)


def best(metric: Metric, values: pd.Series) -> pd.Series:
    """Which values look like the best one when shown; none if nothing competes."""
    top = metric.text((values * metric.better).max() * metric.better)
    competes = values.notna().sum() > 1
    return values.map(metric.text).eq(top) & values.notna() & competes


def _by_size(
    rows: pd.DataFrame, index: list[str], rivals: list[str], sizes: list[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """AP as text, and whether it is best among rivals: ``index`` by size."""
    rows = rows.assign(
        text=[AP.text(*pair) for pair in zip(rows["AP"], rows["AP_std"], strict=True)],
        bold=rows.groupby(rivals)["AP"].transform(lambda values: best(AP, values)),
    )
    wide = rows.pivot(index=index, columns="size", values=["text", "bold"])
    text = wide["text"].reindex(columns=sizes)
    return text, wide["bold"].reindex(columns=sizes).eq(True)


def _seed_note(rows: pd.DataFrame) -> str:
    return SEVERAL_SEEDS if rows["seeds"].max() > 1 else ONE_SEED


def _table(
    caption: str, notes: list[str], text: pd.DataFrame, bold: pd.DataFrame
) -> Table:
    """Turn the index into leading columns that are never bold."""
    names = text.index.to_frame(index=False)
    names.columns = ["method" if name == "label" else name for name in text.index.names]
    plain = pd.DataFrame(False, index=names.index, columns=names.columns)
    text = pd.concat([names, text.reset_index(drop=True)], axis=1)
    bold = pd.concat([plain, bold.reset_index(drop=True)], axis=1)
    return Table(caption, notes, text, bold, names.shape[1])
