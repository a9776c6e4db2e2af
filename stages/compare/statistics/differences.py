"""Differences of what tables compare: paired, tested, corrected for their number."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import t as student

from stages.compare.rows import BLOCK, Results
from stages.compare.statistics.bootstrap import interval, widening
from stages.compare.statistics.measure import METRICS, Sample

FAMILY = [*BLOCK, "metric", "same_checkpoint"]
"""What is corrected for together: one metric's comparisons in one table."""
COLUMNS = [
    *BLOCK, "size", "metric", "a", "decoder_a", "b", "decoder_b", "difference", "low",
    "high", "p", "p_corrected", "seeds", "seed_spread", "single_seed",
    "same_checkpoint",
]  # fmt: skip


@dataclass(frozen=True)
class Series:
    """The repetitions of a method at one size, with one decoder.

    Attributes:
        label: of the method.
        decoder: its name.
        own: whether it is the method's own decoder.
        seeds: sample by seed.
    """

    label: str
    decoder: str
    own: bool
    seeds: dict[int, Sample]


def assess(samples: np.ndarray, images: int) -> dict[str, float]:
    """Difference, interval and p of the drawings ``(1 + B,)`` of a paired difference.

    The p is two-sided: 2 P(T > |difference| / s), s the deviation of the drawings, by
    `bootstrap.widening`, and T Student's with one degree of freedom less than images
    (Efron and Tibshirani 1993, ch. 12.4 and 13.2). Unlike a share of drawings it can
    fall below 1 / B, which correcting for many comparisons needs. The interval is
    `bootstrap.interval`.
    """
    difference, drawn = float(samples[0]), samples[1:]
    low, high = interval(samples, images)
    several = np.isfinite(drawn).sum() > 1
    deviation = widening(images) * np.nanstd(drawn, ddof=1) if several else np.nan
    if difference == 0 and deviation == 0:
        p = 1.0
    elif deviation > 0:
        p = float(2 * student.sf(abs(difference) / deviation, max(images - 1, 1)))
    else:
        p = np.nan
    return {"difference": difference, "low": low, "high": high, "p": p}


def correct(p: pd.Series) -> pd.Series:
    """Holm's step-down correction (Scand. J. Statist. 6, 1979); NaN is not counted."""
    ranked = p.dropna().sort_values()
    factor = np.arange(len(ranked), 0, -1)
    corrected = np.minimum(1, np.maximum.accumulate(ranked.to_numpy() * factor))
    return pd.Series(corrected, index=ranked.index).reindex(p.index)


def differences(results: Results, samples: list[Sample]) -> pd.DataFrame:
    """All pairs of methods at a size, and of decoders on one method's checkpoints.

    The difference is a - b, of the means over the seeds that both have; ``seed_spread``
    is the sample deviation of the seeds' own differences. ``low``, ``high`` and ``p``
    say what drawing other images does; not what training again does.
    """
    rows = []
    for place, group in grouped(results, samples):
        for a, b in combinations(group, 2):
            together = a.label == b.label
            if not together and not (a.own and b.own):
                continue
            # Decoders are shown by AP alone.
            for metric in METRICS[:1] if together else METRICS:
                rows += _compare(place | {"metric": metric}, a, b)
    frame = pd.DataFrame(rows, columns=[c for c in COLUMNS if c != "p_corrected"])
    families = frame.groupby(FAMILY, sort=False)["p"]
    frame["p_corrected"] = families.transform(correct) if len(frame) else None
    return frame[COLUMNS]


def mean_samples(series: Series, metric: str) -> np.ndarray | None:
    """Mean over seeds of a metric's drawings ``(1 + B,)``; None if it has none."""
    found = [sample.values.get(metric) for sample in series.seeds.values()]
    return None if any(one is None for one in found) else np.mean(found, axis=0)


def grouped(
    results: Results, samples: list[Sample]
) -> Iterator[tuple[dict[str, str], list[Series]]]:
    """Block and size, and its series in the order of params.yaml."""
    groups: dict[tuple, dict[tuple, Series]] = {}
    for sample in samples:
        cell = results.cells[sample.key] | {"boxes": sample.boxes}
        place = tuple(cell[name] for name in [*BLOCK, "size"])
        label = results.labels[sample.key]
        series = groups.setdefault(place, {}).setdefault(
            (label, sample.decoder), Series(label, sample.decoder, sample.own, {})
        )
        series.seeds[cell["seed"]] = sample
    for place, group in groups.items():
        yield dict(zip([*BLOCK, "size"], place, strict=True)), list(group.values())


def _compare(place: dict, a: Series, b: Series) -> list[dict]:
    """The row of one comparison; none if they share no seed or lack the metric."""
    common = [seed for seed in a.seeds if seed in b.seeds]
    pairs = [(a.seeds[seed].values, b.seeds[seed].values) for seed in common]
    metric = place["metric"]
    pairs = [(x[metric], y[metric]) for x, y in pairs if metric in x and metric in y]
    if not pairs:
        return []
    each = np.array([x - y for x, y in pairs])
    spread = each[:, 0].std(ddof=1) if len(each) > 1 else np.nan
    names = {"a": a.label, "decoder_a": a.decoder, "b": b.label, "decoder_b": b.decoder}
    tested = assess(each.mean(axis=0), a.seeds[common[0]].images)
    seeds = {"seeds": len(each), "seed_spread": spread, "single_seed": len(each) == 1}
    same = {"same_checkpoint": a.label == b.label}
    return [place | names | tested | seeds | same]
