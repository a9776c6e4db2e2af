"""What the cells of one setting say of a claim, contrast by contrast."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import ttest_1samp

from stages.compare.claims.cells import Group
from stages.compare.claims.claim import EPOCHS, Claim, Contrast, Selector
from stages.compare.rows import Results
from stages.compare.statistics.bootstrap import CONFIDENCE
from stages.compare.statistics.differences import assess
from stages.compare.statistics.measure import Sample

FEWEST_SEEDS = 2
"""Of a verdict on different trainings: one seed does not tell method from luck."""
REACHED = 0.9
"""Share of the reference's last validation AP that counts as reached."""

Find = Callable[[str, Selector], Sample | None]
"""Of a key and a selector: what was measured, if it was."""


@dataclass(frozen=True)
class Finding:
    """One contrast, measured.

    Attributes:
        effect, low, high, p: two-sided, of the effect beyond minus the margin.
        seeds: how many repetitions all of its cells have in common.
        agreed: every repetition is on the effect's side of minus the margin.
        enough: seeds suffice, or only decoders of one checkpoint are compared.
        keys: the cells.
    """

    effect: float
    low: float
    high: float
    p: float
    seeds: int
    agreed: bool
    enough: bool
    keys: tuple[str, ...]


def find_all(
    claim: Claim, group: Group, results: Results, find: Find
) -> list[Finding | None]:
    """Of each contrast; None where a cell is missing."""
    if claim.metric == EPOCHS:
        return [_compare_epochs(c, group, results) for c in claim.contrasts]
    return [_compare(c, claim, group, find) for c in claim.contrasts]


def _compare(
    contrast: Contrast, claim: Claim, group: Group, find: Find
) -> Finding | None:
    """A contrast of a bootstrapped metric, seed by seed."""
    signs = [1] * len(contrast.more) + [-1] * len(contrast.less)
    drawn, keys, images = [], [], 0
    for seed in _common_seeds(contrast, group):
        cells = [group.find(selector)[seed] for selector in contrast.selectors]
        samples = [find(*one) for one in zip(cells, contrast.selectors, strict=True)]
        if all(one and claim.metric in one.values for one in samples):
            values = [one.values[claim.metric] for one in samples]
            drawn.append(np.tensordot(signs, values, axes=1))
            keys += cells
            images = samples[0].images
    if not drawn:
        return None
    each = np.array(drawn) + claim.margin
    tested = assess(each.mean(axis=0), images)
    effect = tested.pop("difference")
    return Finding(
        effect=effect - claim.margin,
        low=tested["low"] - claim.margin,
        high=tested["high"] - claim.margin,
        p=tested["p"],
        seeds=len(each),
        agreed=bool((np.sign(each[:, 0]) == np.sign(effect)).all()),
        enough=len(each) >= FEWEST_SEEDS or len(set(keys)) == 1,
        keys=tuple(dict.fromkeys(keys)),
    )


def _compare_epochs(
    contrast: Contrast, group: Group, results: Results
) -> Finding | None:
    """A contrast of the epochs to reach an AP; Student's t over seeds."""
    each, keys = [], []
    for seed in _common_seeds(contrast, group):
        curves = [
            _curve(results, group.find(selector)[seed])
            for selector in contrast.selectors
        ]
        if not all(len(curve) for curve in curves):
            continue
        goal = REACHED * curves[0].iloc[-1]
        epochs = [_epochs_to(curve, goal) for curve in curves]
        first = len(contrast.more)
        each.append(sum(epochs[:first]) - sum(epochs[first:]))
        keys += [group.find(selector)[seed] for selector in contrast.selectors]
    if not each:
        return None
    low = high = p = np.nan
    if len(each) > 1 and np.ptp(each) > 0:
        tested = ttest_1samp(each, 0)
        p = float(tested.pvalue)
        low, high = tested.confidence_interval(CONFIDENCE)
    return Finding(
        effect=float(np.mean(each)),
        low=float(low),
        high=float(high),
        p=p,
        seeds=len(each),
        agreed=bool((np.sign(each) == np.sign(np.mean(each))).all()),
        enough=len(each) >= FEWEST_SEEDS,
        keys=tuple(dict.fromkeys(keys)),
    )


def _curve(results: Results, key: str) -> pd.Series:
    """Validation AP by epoch, of the epochs that have one."""
    curve = results.curves[results.curves["key"] == key]
    return curve.set_index("epoch")["val_ap"].dropna()


def _epochs_to(curve: pd.Series, goal: float) -> float:
    """The first epoch at or above the goal; one more than the last where none is."""
    reached = curve.index[curve >= goal]
    return float(reached[0] if len(reached) else curve.index[-1] + 1)


def _common_seeds(contrast: Contrast, group: Group) -> list[int]:
    """Seeds that all cells of a contrast have in params.yaml."""
    each = [set(group.find(selector)) for selector in contrast.selectors]
    return sorted(set.intersection(*each))
