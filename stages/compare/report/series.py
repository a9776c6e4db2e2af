"""The own decoders' figures of one block: a row per method and size, over seeds."""

from dataclasses import dataclass

import pandas as pd

from stages.compare.metrics import QUALITY, Metric
from stages.compare.report.model import Material
from stages.compare.rows import BLOCK
from stages.compare.significance import Standing, differences_of, stand
from stages.compare.summary import layout, of_block, summarise


@dataclass(frozen=True)
class Series:
    """One block's methods by sizes.

    Attributes:
        block: data, upscaling, backbone, schedule and boxes.
        rows: the own decoders' rows of `summarise`, with ``keys`` (a tuple) and for
            each metric ``<metric>_low`` and ``_high``, the bounds of its interval.
        labels, sizes: in their order; sizes that have a row.
        tested: rows of differences.csv, or None.
        cells, missing: how many the block should have, and how many are not finished.
    """

    block: tuple
    rows: pd.DataFrame
    labels: list[str]
    sizes: list[str]
    tested: pd.DataFrame | None
    cells: int
    missing: int

    def of_size(self, size: str) -> pd.DataFrame:
        """The rows of one size."""
        return self.rows[self.rows["size"] == size]

    def standing(self, size: str, metric: Metric) -> Standing:
        """Best, tied and untested methods of one size."""
        values = self.of_size(size).set_index("label")[metric.column]
        return stand(values, metric, differences_of(self.tested, self.block, size))


def own_series(material: Material, block: tuple) -> Series:
    """Collect a block's own decoders, with the intervals where there are any."""
    results = material.results
    rows = of_block(results.rows[results.rows["own_decoder"]], block)
    summary = summarise(rows)
    keys = rows.groupby(["label", "size"])["key"].agg(tuple).rename("keys")
    summary = summary.join(keys, on=["label", "size"])
    bounds = _bounds(material, rows)
    summary = summary.join(bounds, on=["label", "size"])
    labels, sizes = layout(results, block)
    present = set(summary["size"])
    planned = {k for k, cell in results.cells.items() if _settings(cell) == block[:-1]}
    return Series(
        block=block,
        rows=summary,
        labels=labels,
        sizes=[size for size in sizes if size in present],
        tested=material.files.get("differences"),
        cells=len(planned),
        missing=len(planned & set(results.missing)),
    )


def averaged(material: Material, name: str, by: list[str]) -> pd.DataFrame:
    """A table of results/ for the own decoders, averaged over seeds.

    Args:
        name: the table's; without a column ``boxes`` it is of the first boxes.
        by: its columns that tell rows of one cell apart.

    Returns:
        The columns of BLOCK, size, label, keys (a tuple), those of ``by`` and the
        means of all others.
    """
    frame = material.files[name]
    rows = material.results.rows
    own = rows.loc[rows["own_decoder"], [*BLOCK, "key", "decoder", "size", "label"]]
    shared = [column for column in ("key", "decoder", "boxes") if column in frame]
    if "boxes" not in shared:
        own = own.drop_duplicates("key")
    joined = own.merge(frame, on=shared, suffixes=("", "_"))
    groups = joined.groupby([*BLOCK, "size", "label", *by], sort=False)
    numbers = joined.select_dtypes("number").columns.difference(by)
    means = groups[[*numbers]].mean()
    return means.assign(keys=groups["key"].agg(tuple)).reset_index()


def _bounds(material: Material, rows: pd.DataFrame) -> pd.DataFrame:
    """Bounds by label and size: ``<metric>_low`` and ``<metric>_high``."""
    columns = [f"{m.column}_{side}" for m in QUALITY for side in ("low", "high")]
    intervals = material.files.get("intervals")
    if intervals is None:
        index = pd.MultiIndex.from_tuples([], names=["label", "size"])
        return pd.DataFrame(columns=columns, index=index, dtype=float)
    named = rows[[*BLOCK, "size", "label", "decoder"]].drop_duplicates()
    known = named.merge(intervals, on=[*BLOCK, "size", "label", "decoder"])
    wide = known.pivot_table(
        index=["label", "size"], columns="metric", values=["low", "high"]
    )
    wide.columns = [f"{metric}_{side}" for side, metric in wide.columns]
    return wide.reindex(columns=columns)


def _settings(cell: dict) -> tuple:
    return tuple(cell[name] for name in BLOCK[:-1])
