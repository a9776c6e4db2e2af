"""What a page consists of: panels of tables and figures, ready for the template."""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from stages.compare.metrics import ABSENT
from stages.compare.rows import Results

LEAST_P = 0.001
"""Smaller p-values are not told apart."""


@dataclass(frozen=True)
class Entry:
    """One entry of a table.

    Attributes:
        text: what is read.
        value: what it is sorted by; empty goes last.
        note: small print below, such as an interval.
        bold: best, or not significantly different from it.
        style: a class of the style sheet.
    """

    text: str
    value: float | str = ""
    note: str = ""
    bold: bool = False
    style: str = ""


@dataclass(frozen=True)
class Row:
    """A row of a table, and the cells of params.yaml that its figures come from."""

    entries: list[Entry]
    keys: tuple[str, ...] = ()
    style: str = ""


@dataclass(frozen=True)
class Table:
    """A sortable table; its first ``names`` columns are left-aligned."""

    caption: str
    columns: list[str]
    rows: list[Row]
    names: int = 1
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """A plot (SVG) or a picture of people (an image inside the page)."""

    caption: str
    content: Markup
    wide: bool = False


@dataclass(frozen=True)
class Panel:
    """A section of the page.

    Attributes:
        text: paragraphs above the figures.
        legend: labels of the methods whose colours it needs.
        sources: the files that its figures are from.
    """

    text: list[str] = field(default_factory=list)
    legend: list[str] = field(default_factory=list)
    figures: list[Picture] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Material:
    """What the panels are made of.

    Attributes:
        results: the cells and their rows.
        folder: where compare writes; the files are from there.
        files: the tables in results/ by name; only those that have rows.
        styles: colour, marker and dashes by label.
    """

    results: Results
    folder: Path
    files: dict[str, pd.DataFrame]
    styles: dict[str, dict]


def number(value: float, form: str = ".1f", **more) -> Entry:
    """An entry for a figure, or for its absence."""
    if pd.isna(value):
        return Entry(ABSENT)
    return Entry(format(value, form), float(value), **more)


def probability(p: float, **more) -> Entry:
    """An entry for a p-value."""
    if p < LEAST_P:
        return Entry(f"< {LEAST_P}", float(p), **more)
    return number(p, ".3f", **more)


def name(text: object, **more) -> Entry:
    """An entry for a word, sorted by itself."""
    return Entry(str(text), str(text), **more)


def interval(low: float, high: float, form: str = ".1f") -> str:
    """An interval as it is read in tables; empty where there is none."""
    if pd.isna(low) or pd.isna(high):
        return ""
    return f"{format(low, form)} to {format(high, form)}"
