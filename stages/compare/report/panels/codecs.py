"""What the codecs lose before any network is trained, and the coarse error after."""

import pandas as pd

from stages.compare.report.model import Entry, Material, Panel, Row, Table, name, number
from stages.compare.report.panels.common import each_size
from stages.compare.report.series import averaged

ORACLE = (
    "Error of perfect target maps decoded again, in input px: the mean, and in small "
    "print the 99th percentile. No network is better than its codec."
)


def codecs(material: Material) -> Panel:
    """Oracle error by codec and size, and how often the largest cell is near."""
    panel = Panel(text=[ORACLE], sources=["codecs/oracle.csv"])
    panel.tables.append(_oracle(material.files["codecs/oracle"]))
    if "codecs/coarse_error" in material.files:
        panel.tables.extend(_coarse(material))
        panel.sources.append("codecs/coarse_error.csv")
    return panel


def _oracle(frame: pd.DataFrame) -> Table:
    sizes = list(dict.fromkeys(frame["size"]))
    rows = []
    for (codec, whose), own in frame.groupby(["codec", "implementation"], sort=False):
        by_size = own.drop_duplicates("size").set_index("size")
        entries = [_error(by_size, size) for size in sizes]
        rows.append(Row([name(codec), name(whose), *entries]))
    columns = ["codec", "implementation", *sizes]
    return Table("Oracle error (input px)", columns, rows, names=2)


def _error(by_size: pd.DataFrame, size: str) -> Entry:
    if size not in by_size.index:
        return number(float("nan"))
    row = by_size.loc[size]
    return number(row["mean_px"], ".2f", note=f"{row['p99_px']:.2f}")


def _coarse(material: Material) -> list[Table]:
    """From the keypoint's cell to the largest one of the predicted map; by block."""
    frame = averaged(material, "codecs/coarse_error", [])
    rows: dict[str, list[Row]] = {}
    for caption, of_size in each_size(material, frame):
        block = caption.partition(": ")[2]
        rows.setdefault(block, []).extend(map(_near, of_size.itertuples()))
    columns = ["method", "size", "within a cell (%)", "x (cells)", "y (cells)"]
    note = "Standard deviations along x and y."
    caption = "Coarse error, the largest cell of the predicted map"
    return [
        Table(f"{caption}: {block}", columns, of_block, names=2, note=note)
        for block, of_block in rows.items()
    ]


def _near(row) -> Row:
    entries = [
        name(row.label),
        name(row.size),
        number(100 * row.within_1_cell),
        number(row.std_x, ".2f"),
        number(row.std_y, ".2f"),
    ]
    return Row(entries, row.keys)
