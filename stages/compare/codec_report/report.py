"""The files of results/codecs."""

from pathlib import Path

from stages.compare.codec_report.coarse import coarse_table
from stages.compare.codec_report.histograms import coarse_error
from stages.compare.codec_report.oracle import measure_ours, oracle_table
from stages.compare.codec_report.panels import draw_panels
from stages.compare.codec_report.stock import measure_stock
from stages.compare.codec_report.views import PHASE, POSITION
from stages.compare.rows import Results
from stages.compare.style import look, save, save_blocks
from stages.compare.summary import blocks
from stages.files import new_folder

OURS = ("argmax", "msra", "dark", "udp", "quadfit", "udp_offset", "cal", "simcc")
STOCK = ("msra", "dark", "udp", "udp_offset", "simcc")
SIZES = ("32x24", "64x48", "128x96", "256x192")
JOINTS = 4000
"""Joints per codec and size, at least."""


def write_report(results: Results, folder: Path) -> None:
    """Tables and pictures, in place of what the folder held."""
    oracles = [measure_ours(name, size, JOINTS) for name in OURS for size in SIZES]
    oracles += [measure_stock(name, size, JOINTS) for name in STOCK for size in SIZES]
    tables = {"oracle": oracle_table(oracles), "coarse_error": coarse_table(results)}
    with new_folder(folder) as aside, look():
        for name, table in tables.items():
            path = aside / f"{name}.csv"
            table.to_csv(path, index=False, lineterminator="\n")
        save(draw_panels(oracles, PHASE), aside, "oracle_phase")
        save(draw_panels(oracles, POSITION), aside, "oracle_position")
        found = blocks(results.rows.drop(columns="boxes"))
        save_blocks(coarse_error, results, found, aside)
