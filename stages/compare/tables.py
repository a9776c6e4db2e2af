"""The tables of a comparison: what stands in them and what is bold."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pandas as pd

from stages.compare.metrics import ABSENT, AP, METRICS, Metric
from stages.compare.published import matching, read_published
from stages.compare.rows import Results
from stages.compare.significance import differences_of, stand
from stages.compare.summary import blocks, layout, of_block, summarise

ONE_SEED = (
    "one seed: a ranking of checkpoints, and not yet of methods; intervals and tested "
    "differences say what other images would change"
)
TESTED = (
    "bold: the best and what is not significantly different from it (paired bootstrap "
    "over the validation images, corrected p above 0.05)"
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


Pairs = Callable[..., pd.DataFrame | None]
"""From a size, and for decoders a label, to the tested pairs there."""


def build_tables(
    results: Results, differences: pd.DataFrame | None = None
) -> dict[tuple, list[Table]]:
    """The tables of every block: AP by size, all metrics, the decoder ablation.

    Args:
        differences: the tested ones; without them only the best is bold.
    """
    summary = summarise(results.rows)
    tables = {}
    for block in blocks(summary):
        rows = of_block(summary, block)
        labels, sizes = layout(results, block)
        pairs = partial(differences_of, differences, block)
        tables[block] = [
            ap_table(rows, labels, sizes, pairs),
            metrics_table(rows, pairs),
            decoder_table(rows, labels, sizes, pairs),
        ]
    return tables


def ap_table(
    rows: pd.DataFrame, labels: list[str], sizes: list[str], pairs: Pairs
) -> Table:
    """Methods by sizes, the published figures of a method below it.

    Args:
        rows: the summary of one block.
        labels: the rows in order, whether finished or not.
        sizes: the columns in order.
        pairs: the tested differences.
    """
    own = rows[rows["own_decoder"]]
    bold = _bold(own, "label", ["size"], pairs)
    text, bold = _by_size(own, bold, ["label"], sizes)
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
    notes = _notes("best of each size in bold", rows, pairs(sizes[0]))
    notes += [PUBLISHED] if len(published) else []
    return _table("AP by method and input size, own decoder", notes, text, bold)


def metrics_table(rows: pd.DataFrame, pairs: Pairs) -> Table:
    """Every metric of the own decoder, one row per size and method."""
    own = rows[rows["own_decoder"]].set_index(["size", "label", "decoder"])
    # PCKh, for one, is not defined on every dataset.
    shown = [m for m in METRICS if own[m.column].notna().any()]
    text = pd.DataFrame({m.label: own[m.column].map(m.text) for m in shown})
    text.insert(0, "seeds", own["seeds"].astype(str))
    bold = pd.DataFrame(False, index=text.index, columns=text.columns)
    for m in (m for m in shown if m.spread):
        bold[m.label] = _bold(own.reset_index(), "label", ["size"], pairs, m).array
    tested = len(own) and pairs(own.index[0][0]) is not None
    notes = ["means over seeds", TESTED if tested else "best of each size in bold"]
    return _table("All metrics, own decoder", notes, text, bold)


def decoder_table(
    rows: pd.DataFrame, labels: list[str], sizes: list[str], pairs: Pairs
) -> Table:
    """AP of every decoder that fits a method's checkpoint."""
    own = rows["own_decoder"]
    bold = _bold(rows, "decoder", ["size", "label"], pairs)
    rows = rows.assign(decoder=rows["decoder"].mask(own, rows["decoder"] + " (own)"))
    text, bold = _by_size(rows, bold, ["label", "decoder"], sizes)
    first = rows.assign(place=rows["label"].map(labels.index), other=~own)
    first = first.sort_values(["place", "other"], kind="stable")
    order = first[["label", "decoder"]].drop_duplicates()
    order = pd.MultiIndex.from_frame(order)
    notes = _notes("best of each checkpoint in bold", rows, pairs(sizes[0]))
    text, bold = text.loc[order].fillna(ABSENT), bold.loc[order]
    return _table("AP by decoder, on the same checkpoints", notes, text, bold)


def best(
    metric: Metric, values: pd.Series, pairs: pd.DataFrame | None = None
) -> pd.Series:
    """Which values, by name, are the best or not significantly different from it.

    None if nothing competes; what was not tested must read like the best.
    """
    return pd.Series(values.index.isin(stand(values, metric, pairs).bold), values.index)


def _bold(
    rows: pd.DataFrame, name: str, rivals: list[str], pairs: Pairs, metric: Metric = AP
) -> pd.Series:
    """Which rows are best among those that share ``rivals``, told apart by ``name``."""
    bold = pd.Series(False, index=rows.index)
    for place, group in rows.groupby(rivals):
        values = group.set_index(name)[metric.column]
        bold[group.index] = best(metric, values, pairs(*place)).to_numpy()
    return bold


def _by_size(
    rows: pd.DataFrame, bold: pd.Series, index: list[str], sizes: list[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """AP as text and whether it is bold: ``index`` by size."""
    text = [AP.text(*pair) for pair in zip(rows["AP"], rows["AP_std"], strict=True)]
    rows = rows.assign(text=text, bold=bold)
    wide = rows.pivot(index=index, columns="size", values=["text", "bold"])
    text = wide["text"].reindex(columns=sizes)
    return text, wide["bold"].reindex(columns=sizes).eq(True)


def _notes(plain: str, rows: pd.DataFrame, tested: pd.DataFrame | None) -> list[str]:
    """What bold means, and what the seeds allow one to say."""
    seeds = SEVERAL_SEEDS if rows["seeds"].max() > 1 else ONE_SEED
    return [plain if tested is None else TESTED, seeds]


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
