"""Write what compares the treatments: a table for machines, tables to read, figures."""

from pathlib import Path

import pandas as pd

from stages.compare.documents import to_markdown
from stages.compare.rows import Results
from stages.compare.style import save
from stages.compare.super_resolution.pictures import draw_persons
from stages.compare.super_resolution.plots import ap_vs_cost
from stages.compare.super_resolution.tables import build_tables, name_group
from stages.compare.super_resolution.treatments import (
    GROUP,
    summarise_treatments,
)
from stages.files import new_file


def write_treatments(rows: pd.DataFrame, folder: Path) -> None:
    """super_resolution.csv and .md; without rows where nothing is upscaled.

    Args:
        rows: as ``collect_treatments`` gives them.
    """
    summary = summarise_treatments(rows)
    with new_file(folder / "super_resolution.csv") as handle:
        summary.round(6).to_csv(handle, index=False, lineterminator="\n")
    parts = ["# Ways to read a small person\n"]
    for group, tables in build_tables(summary).items():
        parts.append(f"## {name_group(group)}\n")
        parts += [to_markdown(table) for table in tables]
    if summary.empty:
        parts.append("No cell is upscaled: see conf/grid/super_resolution.yaml.\n")
    with new_file(folder / "super_resolution.md") as handle:
        handle.write("\n".join(parts))


def draw_treatments(results: Results, rows: pd.DataFrame, folder: Path) -> None:
    """AP against cost, and persons: a file of each for every group.

    Args:
        rows: as ``collect_treatments`` gives them.
    """
    summary = summarise_treatments(rows)
    order = {name: n for n, name in enumerate(summary["treatment"].unique())}
    rows = rows.sort_values("treatment", key=lambda column: column.map(order))
    for n, (group, of_group) in enumerate(summary.groupby(GROUP, sort=False)):
        suffix = "-" + "-".join(group).replace(" ", "_") if n else ""
        figure = ap_vs_cost(of_group, list(results.labels.values()))
        save(figure, folder, f"super_resolution_cost{suffix}")
        same = rows.merge(pd.DataFrame([group], columns=GROUP), on=GROUP)
        figure = draw_persons(results, same, name_group(group))
        save(figure, folder, f"super_resolution_persons{suffix}", photos=True)
