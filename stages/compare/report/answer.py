"""The answer in words: what the figures allow one to say, and what they do not."""

import pandas as pd

from stages.compare.cells import count_pixels
from stages.compare.metrics import AP
from stages.compare.report.model import Material, interval
from stages.compare.report.series import Series, own_series
from stages.compare.significance import Standing
from stages.compare.summary import blocks, name_block

QUESTION = (
    "Which keypoint encoding, head and loss survives when the person is only 24, 48 or "
    "96 pixels wide?"
)


def answer(material: Material) -> list[tuple[str, str]]:
    """What each block of cells says, after its name; the one with most cells first.

    A block with nothing to compare is left out where another has something.
    """
    rows = material.results.rows
    found = blocks(rows)
    if not found:
        return [("", "No cell is finished: there is nothing to answer from yet.")]
    parts = [(block, own_series(material, block)) for block in found]
    parts.sort(key=lambda part: -len(part[1].rows))
    compared = [part for part in parts if part[1].rows["label"].nunique() > 1]
    chosen = compared or parts
    return [(name_block(block), describe(series)) for block, series in chosen]


def describe(series: Series) -> str:
    """A paragraph on one block: the best of each size, who loses least, the doubts."""
    sentences = [
        _best(size, series.of_size(size), series.standing(size, AP))
        for size in series.sizes
    ]
    sentences += [_loses_least(series), _doubts(series)]
    return " ".join(sentence for sentence in sentences if sentence)


def _best(size: str, rows: pd.DataFrame, standing: Standing) -> str:
    """Who is best at a size and who cannot be told from it."""
    ap = rows.set_index("label")["AP"]
    if standing.best is None:
        lone = "".join(f" {label} has {value:.1f} AP" for label, value in ap.items())
        return f"At {size}{lone}, with nothing beside it to compare." if lone else ""
    best = rows.set_index("label").loc[standing.best]
    said = f"At {size} {standing.best} has the highest AP, {best['AP']:.1f}"
    between = interval(best["AP_low"], best["AP_high"])
    said += f" (95 % interval {between})" if between else ""
    tied = [label for label in standing.tied if label not in standing.untested]
    if tied:
        verb = "is" if len(tied) == 1 else "are"
        return f"{said}; {_list(tied, ap)} {verb} not significantly different from it."
    if standing.untested:
        return f"{said}, before {_next(standing, ap)}; this was not tested."
    if len(ap) > 2:
        return (
            f"{said}, significantly more than all others, next {_next(standing, ap)}."
        )
    return f"{said}, significantly more than {_next(standing, ap)}."


def _next(standing: Standing, ap: pd.Series) -> str:
    return _list([ap.drop(standing.best).idxmax()], ap)


def _loses_least(series: Series) -> str:
    """Whose AP falls least, in relation to its own, from the largest to the smallest.

    Only methods that have both sizes count; nothing is said where fewer than two do.
    """
    if len(series.sizes) < 2:
        return ""
    low, high = series.sizes[0], series.sizes[-1]
    wide = series.rows.pivot(index="label", columns="size", values="AP")
    kept = (100 * wide[low] / wide[high]).dropna()
    if len(kept) < 2 or count_pixels(low) == count_pixels(high):
        return ""
    first, last = kept.idxmax(), kept.idxmin()
    return (
        f"From {high} to {low}, {first} keeps the largest share of its AP, "
        f"{kept[first]:.0f} %, and {last} the smallest, {kept[last]:.0f} % "
        "(not tested)."
    )


def _doubts(series: Series) -> str:
    """What the reader must not take for shown."""
    doubts = []
    single = series.rows["seeds"] == 1
    if single.any():
        which = "one seed each" if single.all() else "some with one seed alone"
        doubts.append(f"{which}: another training could change the order")
    if series.rows["AP_low"].isna().all():
        doubts.append("no interval was computed")
    elif series.tested is not None:
        doubts.append("intervals and tests are over the validation images alone")
    if series.missing:
        doubts.append(f"{series.missing} of {series.cells} cells are not finished")
    return f"Caution: {'; '.join(doubts)}." if doubts else ""


def _list(labels: list[str], ap: pd.Series) -> str:
    named = [f"{label} ({ap[label]:.1f})" for label in labels]
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"
