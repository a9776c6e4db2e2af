"""What the literature claims, and what the cells at hand say to it."""

import pandas as pd

from stages.compare.report.model import (
    Entry,
    Material,
    Panel,
    Row,
    Table,
    interval,
    name,
    number,
    probability,
)

COLUMNS = [
    "claim", "verdict", "effect", "p", "seeds", "cells of", "source", "missing",
]  # fmt: skip
NOTE = (
    "A verdict is of the cells at hand alone; it needs a corrected p below 0.05, "
    "and two seeds that agree unless one checkpoint is decoded. Small print: the "
    "95 % interval of an effect, and the command that runs what is missing."
)


def claims(material: Material) -> Panel:
    """A row per claim; what is missing is told with the command that runs it."""
    rows = [_row(row, material) for row in material.files["claims"].itertuples()]
    table = Table("Claims", COLUMNS, rows, names=2)
    return Panel(text=[NOTE], tables=[table], sources=["claims.csv"])


def _row(row, material: Material) -> Row:
    verdict = row.verdict.lower()
    style = verdict if verdict in ("supported", "contradicted") else "undecided"
    between = interval(row.low, row.high, ".2f")
    missing = Entry(row.missing, row.missing, note=row.command, style="long")
    known = set(material.results.cells)
    keys = tuple(key for key in row.cells.replace(",", " ").split() if key in known)
    return Row(
        [
            Entry(row.title, row.title, note=row.statement),
            name(verdict, style=style),
            _effect(row, between),
            probability(row.p),
            number(row.seeds, ".0f") if not pd.isna(row.seeds) else name(""),
            name(row.setting, style="long"),
            name(row.source, style="long"),
            missing,
        ],
        keys,
    )


def _effect(row, between: str) -> Entry:
    """With the metric's name, for claims speak of different ones."""
    if pd.isna(row.effect):
        return number(row.effect)
    return Entry(f"{row.effect:+.2f} {row.metric}", float(row.effect), note=between)
