"""Where the figures of each cell come from: code, settings, data, versions."""

from dataclasses import dataclass

from stages.compare.metrics import METRICS
from stages.compare.rows import Results

NAMES = {
    "git_revision": "git revision",
    "git_dirty": "working tree modified",
    "config_hash": "settings (hash)",
    "data_hash": "data (hash)",
    "checkpoint_hash": "checkpoint (hash)",
    "host": "host",
    "device": "device",
    "versions": "versions",
}
"""Columns of metrics.csv that say it, as far as they are there."""
SHORT = 10


@dataclass(frozen=True)
class Origin:
    """One cell's provenance.

    Attributes:
        number: its place, which names it in the page.
        facts: what is known, by name.
        figures: the own decoder's figures, by name.
        commands: what makes the cell again.
    """

    number: int
    key: str
    revision: str
    facts: dict[str, str]
    figures: dict[str, str]
    commands: list[str]


def origins(results: Results) -> dict[str, Origin]:
    """The provenance of every finished cell, by key."""
    own = results.rows[results.rows["own_decoder"]].drop_duplicates("key")
    return {
        row["key"]: _origin(number, row)
        for number, row in enumerate(own.to_dict("records"))
    }


def _origin(number: int, row: dict) -> Origin:
    facts = {"cell": row["key"], "seed": str(row["seed"])}
    facts |= {name: str(row[column]) for column, name in NAMES.items() if column in row}
    changed = " (modified)" if str(row["git_dirty"]) == "True" else ""
    return Origin(
        number=number,
        key=row["key"],
        revision=str(row["git_revision"])[:SHORT] + changed,
        facts=facts,
        figures={m.label: m.text(row[m.column]) for m in METRICS},
        commands=[f"dvc repro evaluate@{row['key']}"],
    )
