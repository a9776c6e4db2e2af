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

COLUMNS = ["claim", "verdict", "effect", "p", "seeds", "source", "missing"]


def claims(material: Material) -> Panel:
    """A row per claim; what is missing is told with the command that runs it."""
    rows = [_row(row, material) for row in material.files["claims"].itertuples()]
    text = [
        "A verdict is of the cells at hand only; below the effect its 95 % interval."
    ]
    table = Table("Claims", COLUMNS, rows, names=2)
    return Panel(text=text, tables=[table], sources=["claims.csv"])


def _row(row, material: Material) -> Row:
    verdict = row.verdict.lower()
    style = verdict if verdict in ("supported", "contradicted") else "undecided"
    between = interval(row.low, row.high, ".2f")
    missing = Entry(row.missing, row.missing, note=row.command)
    known = set(material.results.cells)
    keys = tuple(key for key in row.cells.replace(",", " ").split() if key in known)
    return Row(
        [
            Entry(row.title, row.title, note=row.statement),
            name(verdict, style=style),
            number(row.effect, "+.2f", note=between),
            probability(row.p),
            number(row.seeds, ".0f") if not pd.isna(row.seeds) else name(""),
            name(row.source),
            missing,
        ],
        keys,
    )
