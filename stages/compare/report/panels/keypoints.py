"""Which keypoints and which persons a method finds."""

import pandas as pd

from stages.compare.report.figures import by_keypoint
from stages.compare.report.model import Material, Panel, Row, Table, name, number
from stages.compare.report.panels.common import each_size, figure, labels_of
from stages.compare.report.series import averaged


def keypoints(material: Material) -> Panel:
    """AP by keypoint: a plot and a table (methods by keypoints) per size."""
    frame = averaged(material, "keypoints", ["keypoint"])
    panel = Panel(legend=labels_of(material, frame), sources=["keypoints.csv"])
    panel.text.append("AP of each keypoint alone, in percent.")
    for caption, rows in each_size(material, frame):
        drawn = by_keypoint(rows, material.styles)
        panel.figures.append(figure(drawn, f"AP by keypoint, {caption}"))
        panel.tables.append(_wide(caption, rows, "keypoint"))
    return panel


def person_sizes(material: Material) -> Panel:
    """AP by the person's size in the photo."""
    frame = averaged(material, "sizes", ["person_size"])
    panel = Panel(sources=["sizes.csv"])
    panel.text.append("AP by the person's area in the photo, in percent.")
    for caption, rows in each_size(material, frame):
        panel.tables.append(_wide(caption, rows, "person_size"))
    return panel


def _wide(caption: str, rows: pd.DataFrame, by: str) -> Table:
    """Methods by keypoints or sizes; a figure is AP, below it the PCK."""
    groups = list(dict.fromkeys(rows[by]))
    entries = []
    for label, own in rows.groupby("label", sort=False):
        values = own.set_index(by)
        figures = [
            number(values["AP"].get(group), note=_pck(values["PCK"].get(group)))
            for group in groups
        ]
        entries.append(Row([name(label), *figures], own["keys"].iloc[0]))
    columns = ["method", *(str(group).replace("_", " ") for group in groups)]
    return Table(caption, columns, entries, note="Small print: PCK.")


def _pck(value: float | None) -> str:
    return "" if value is None or pd.isna(value) else f"{value:.1f}"
