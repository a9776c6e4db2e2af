"""Write results/: ``python -m stages.compare``, at any time, on what is finished."""

import argparse
import sys
from pathlib import Path

import pandas as pd

from stages.compare.claims.claim import read_claims
from stages.compare.claims.verdict import judge
from stages.compare.convergence import convergence, reached
from stages.compare.documents import latex_document, markdown_document, to_latex
from stages.compare.pareto import pareto
from stages.compare.peaks import peaks
from stages.compare.pictures import predictions
from stages.compare.plots import ap_vs_size, decoders, error_vs_size, training_curves
from stages.compare.report.page import write_page
from stages.compare.rows import BLOCK, COLUMNS, HISTORY, Results, collect
from stages.compare.statistics.tables import Statistics, compute
from stages.compare.style import look, save, save_blocks
from stages.compare.summary import blocks, comparison
from stages.compare.super_resolution.report import draw_treatments, write_treatments
from stages.compare.super_resolution.treatments import collect_treatments
from stages.compare.tables import build_tables
from stages.compare.uncertainty import (
    claims_document,
    claims_table,
    uncertainty_tables,
)
from stages.compare.worst import worst
from stages.files import new_file, new_folder, run_stage, write_json

AP_VS_SIZE = [*BLOCK, "size", "method", "seeds", "AP", "AP_std", "error_px"]
CURVES = ["key", *BLOCK[:-1], "method", "size", *HISTORY]
"""Columns of the files that dvc plots show draws, with the templates in vega/."""

HEADLINE = ("AP", "AP50", "AP75", "AR", "PCK", "error_px")
"""What `dvc metrics show` shows of a cell."""


def main(
    root: Path = Path("."), cells: list[str] | None = None, out: Path | None = None
) -> None:
    """Write every table and plot of cells.

    Args:
        root: the repository's top folder.
        cells: their keys; all that params.yaml names by default.
        out: folder to write; ``results`` by default.
    """
    out = out or root / "results"
    results = collect(root, cells)
    for key in results.missing:
        why = "evaluated with other settings" if key in results.stale else "missing"
        print(f"{why}: {key} (dvc repro evaluate@{key})", file=sys.stderr)
    if len(results.missing) == len(results.cells):
        print("no cell is finished: the tables and plots are empty", file=sys.stderr)
    statistics = compute(results)
    write_frames(results, out)
    claims = judge(read_claims(), results, statistics.samples)
    write_statistics(statistics.files() | {"claims": claims}, out)
    write_documents(results, statistics, claims, out)
    treatments = collect_treatments(results)
    write_treatments(treatments, out)
    with new_folder(out / "plots") as folder, look():
        draw(results, folder)
        draw_treatments(results, treatments, folder)
    if not cells:  # of the codecs alone, whatever the cells
        # Imported here, since it needs torch and MMPose, which nothing else here does.
        from stages.compare.codec_report.report import write_report

        write_report(results, out / "codecs")
    write_page(results, out)


def write_frames(results: Results, folder: Path) -> None:
    """The files for machines: metrics, comparison, curves and AP against size."""
    summary = comparison(results).round(4)
    own = summary[summary["own_decoder"] & summary["source"].eq("measured")]
    ap = own.drop(columns="method").rename(columns={"label": "method"})
    curves = results.curves.drop(columns="method").rename(columns={"label": "method"})
    curves = curves.sort_values("pixels", kind="stable")
    for name, frame in {
        "metrics": results.rows[COLUMNS],
        "comparison": summary,
        "ap_vs_size": ap[AP_VS_SIZE],
        "curves": curves[CURVES],
        "convergence": reached(results.curves).round(3),
    }.items():
        with new_file(folder / f"{name}.csv") as handle:
            frame.to_csv(handle, index=False, lineterminator="\n")
    write_json(folder / "metrics.json", headline(results))


def write_statistics(frames: dict[str, pd.DataFrame], folder: Path) -> None:
    """Intervals, differences, parts, kinds of error, calibration, cost, claims."""
    for name, frame in frames.items():
        with new_file(folder / f"{name}.csv") as handle:
            frame.to_csv(handle, index=False, lineterminator="\n")


def headline(results: Results) -> dict[str, dict[str, float]]:
    """The own decoder's figures by key; an undefined one is left out."""
    own = results.rows[results.rows["own_decoder"]]
    own = own.drop_duplicates("key").set_index("key")[list(HEADLINE)]
    return {key: row.dropna().round(4).to_dict() for key, row in own.iterrows()}


def write_documents(
    results: Results, statistics: Statistics, claims: pd.DataFrame, folder: Path
) -> None:
    """comparison.md and comparison.tex."""
    tested = statistics.differences if len(statistics.differences) else None
    tables = build_tables(results, tested)
    for block, of_block in tables.items():
        of_block += uncertainty_tables(results, statistics, block)
    with new_file(folder / "comparison.md") as handle:
        handle.write(markdown_document(results, tables) + claims_document(claims))
    with new_file(folder / "comparison.tex") as handle:
        handle.write(latex_document(results, tables))
        handle.write("\n" + to_latex(claims_table(claims), "all settings"))


def draw(results: Results, folder: Path) -> None:
    """Every figure as PNG and SVG; what shows one block has a file for each."""
    save(ap_vs_size(results), folder, "ap_vs_size")
    save(error_vs_size(results), folder, "error_vs_size")
    without_boxes = results.rows.drop(columns="boxes")
    save_blocks(training_curves, results, blocks(results.curves), folder)
    save_blocks(convergence, results, blocks(results.curves), folder)
    save_blocks(decoders, results, blocks(results.rows), folder)
    save_blocks(pareto, results, blocks(results.rows), folder)
    for people in (predictions, worst, peaks):
        save_blocks(people, results, blocks(without_boxes), folder, photos=True)


def command_line() -> None:
    """Write results/, or with --cells and --out the comparison of some cells."""
    parser = argparse.ArgumentParser(prog="stages.compare", description=__doc__)
    parser.add_argument("--cells", nargs="+", help="keys (default: all of params.yaml)")
    parser.add_argument("--out", type=Path, help="folder to write (default: results)")
    arguments = parser.parse_args()
    if bool(arguments.cells) != bool(arguments.out):
        parser.error("--cells and --out go together: results/ is of all cells")
    main(cells=arguments.cells, out=arguments.out)


if __name__ == "__main__":
    run_stage(command_line)
