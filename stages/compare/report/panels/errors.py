"""What kinds of error a method makes, and whether its scores know of them."""

import pandas as pd

from stages.compare.report.figures import KINDS, calibration_lines, error_bars
from stages.compare.report.model import Material, Panel, Row, Table, name, number
from stages.compare.report.panels.common import each_size, figure, labels_of
from stages.compare.report.series import averaged

KINDS_NOTE = (
    "After Ronchi and Perona (ICCV 2017): jitter is near the right place, inversion at "
    "the same person's other side, swap at another person, miss far from any. The "
    "tables have the AP that would be gained if all errors of a kind were mended."
)
SCORES_NOTE = (
    "Persons in groups of like score: a curve on the dotted line has scores that say "
    "the OKS to expect. Where it only rises, persons are ranked rightly all the same."
)

SCORE_COLUMNS = ["method", "calibration error", "rank correlation"]
ECE_NOTE = (
    "Mean distance of score and OKS over the groups, by their size; Spearman's "
    "correlation of score and OKS, which AP needs high."
)


def error_kinds(material: Material) -> Panel:
    """Shares of the kinds as bars, the AP that each costs as a table."""
    frame = averaged(material, "error_kinds", ["kind"])
    panel = Panel(text=[KINDS_NOTE], sources=["error_kinds.csv"])
    kinds = [kind for kind in KINDS if kind != "good" and kind in set(frame["kind"])]
    for caption, rows in each_size(material, frame):
        panel.figures.append(figure(error_bars(rows), f"Kinds of error, {caption}"))
        entries = []
        for label, own in rows.groupby("label", sort=False):
            values = own.set_index("kind")
            figures = [
                number(values["AP_gain"].get(kind), "+.1f", note=_share(values, kind))
                for kind in kinds
            ]
            entries.append(Row([name(label), *figures], own["keys"].iloc[0]))
        note = "AP gained if mended; small print: share of keypoints."
        panel.tables.append(Table(caption, ["method", *kinds], entries, note=note))
    return panel


def calibration(material: Material) -> Panel:
    """Mean OKS against mean score, bin by bin."""
    frame = averaged(material, "calibration", ["low", "high"])
    frame = frame[frame["count"] > 0]
    panel = Panel(text=[SCORES_NOTE], legend=labels_of(material, frame))
    panel.sources.append("calibration.csv")
    for caption, rows in each_size(material, frame):
        drawn = calibration_lines(rows, material.styles)
        panel.figures.append(figure(drawn, f"OKS against score, {caption}"))
        entries = [
            Row(
                [name(label), number(own["ece"].iloc[0], ".3f"),
                 number(own["correlation"].iloc[0], ".2f")],
                own["keys"].iloc[0],
            )
            for label, own in rows.groupby("label", sort=False)
        ]  # fmt: skip
        panel.tables.append(Table(caption, SCORE_COLUMNS, entries, note=ECE_NOTE))
    return panel


def _share(values: pd.DataFrame, kind: str) -> str:
    return f"{values['share'].get(kind, 0):.1f} %"
