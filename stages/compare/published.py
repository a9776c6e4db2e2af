"""Published figures that a block of cells can be read beside."""

from pathlib import Path

import pandas as pd

PATH = Path(__file__).with_name("published.csv")
FIGURES = ["AP", "AP50", "AP75", "APM", "APL", "AR"]


def read_published() -> pd.DataFrame:
    """published.csv: one row per figure; text is never missing, figures may be NaN."""
    figures = dict.fromkeys(FIGURES, [""])
    frame = pd.read_csv(PATH, keep_default_na=False, na_values=figures)
    return frame.rename(columns={"input_size": "size"})


def matching(published: pd.DataFrame, series: pd.DataFrame) -> pd.DataFrame:
    """The published rows of the same backbone, upscaling, size and method.

    Args:
        published: as `read_published` gives it.
        series: rows with the columns backbone, upscale, size and method.

    Returns:
        The matching rows, in the file's order, each with the column ``label``: what
        was published, where, on which data and with which boxes.
    """
    same = ["backbone", "upscale", "size", "method"]
    found = published.merge(series[same].drop_duplicates(), on=same)
    return found.assign(label=[_describe(row) for row in found.itertuples()])


def _describe(row) -> str:
    note = f"; {row.note}" if row.note else ""
    return f"{row.method}, {row.source} ({row.dataset}, boxes: {row.boxes}{note})"
