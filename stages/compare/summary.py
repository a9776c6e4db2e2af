"""From single runs to one line per method: means and deviations over seeds."""

import pandas as pd

from stages.compare.cells import count_pixels
from stages.compare.metrics import METRICS
from stages.compare.published import matching, read_published
from stages.compare.rows import BLOCK, Results

BOXES = {"gt": "ground-truth boxes", "detections": "detected boxes"}
SERIES = [*BLOCK, "size", "pixels", "method", "label", "decoder", "own_decoder"]


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Average the repetitions of a series, decoder by decoder.

    Args:
        rows: as `Results.rows`.

    Returns:
        One row per series and decoder: its settings, ``seeds`` (how many), for each
        metric the mean, and in ``<metric>_std`` the sample standard deviation (NaN
        for one seed). Ordered by block, then by pixels, then as params.yaml has them.
    """
    groups = rows.groupby(SERIES, sort=False)
    columns = [metric.column for metric in METRICS]
    mean = groups[columns].mean()
    deviation = groups[columns].std(ddof=1).add_suffix("_std")
    seeds = groups["seed"].nunique().rename("seeds")
    summary = pd.concat([seeds, mean, deviation], axis=1).reset_index()
    order = {block: n for n, block in enumerate(blocks(rows))}
    place = summary[BLOCK].apply(tuple, axis=1).map(order) if len(summary) else []
    summary = summary.assign(place=place).sort_values(
        ["place", "pixels"], kind="stable"
    )
    return summary.drop(columns="place").reset_index(drop=True)


def blocks(frame: pd.DataFrame) -> list[tuple]:
    """The blocks of a frame in order of appearance; training curves have no boxes."""
    names = [name for name in BLOCK if name in frame]
    return list(frame[names].drop_duplicates().itertuples(index=False, name=None))


def of_block(frame: pd.DataFrame, block: tuple) -> pd.DataFrame:
    """The rows of one block."""
    keep = pd.Series(True, index=frame.index)
    for name, value in zip(BLOCK, block, strict=False):
        keep &= frame[name] == value
    return frame[keep]


def layout(results: Results, block: tuple) -> tuple[list[str], list[str]]:
    """Labels in the order of params.yaml and sizes by pixels, finished or not."""
    settings = dict(zip(BLOCK[:-1], block, strict=False))
    keys = [
        key for key, cell in results.cells.items() if settings.items() <= cell.items()
    ]
    labels = list(dict.fromkeys(results.labels[key] for key in keys))
    sizes = {results.cells[key]["size"] for key in keys}
    return labels, sorted(sizes, key=lambda size: (count_pixels(size), size))


def name_block(block: tuple) -> str:
    """A heading for a block, such as ``synthetic, hrnet_micro, quick schedule``."""
    named = dict(zip(BLOCK, block, strict=False))
    parts = [named["data"], named["backbone"], f"{named['schedule']} schedule"]
    if named["upscale"] != "none":
        parts.insert(1, f"upscaled by {named['upscale']}")
    if "boxes" in named:
        parts.append(BOXES.get(named["boxes"], f"{named['boxes']} boxes"))
    return ", ".join(parts)


def comparison(results: Results) -> pd.DataFrame:
    """The summary as a table for machines, with published figures as rows below.

    The column ``source`` is ``measured`` or the place of publication.
    """
    measured = summarise(results.rows).assign(source="measured")
    cited = matching(read_published(), measured).rename(columns={"dataset": "data"})
    lead = [name for name in SERIES if name != "pixels"] + ["source", "seeds"]
    columns = lead + [name for name in measured if name not in [*lead, "pixels"]]
    both = pd.concat([measured, cited.assign(own_decoder=True)], ignore_index=True)
    return both[columns].astype({"seeds": "Int64"})
