"""Image bootstrap: the metrics of a cell when its images are drawn again.

Persons of one image are not independent, so whole images are drawn, with replacement.
A drawing is a row of weights: how often each image was drawn. What was matched is
matched once; only the accumulation is done again, for all drawings at a time. All cells
of the same data see the same drawings, which makes their differences paired.
"""

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import t as student

from stages.compare.statistics.matching import Matches

RESAMPLES = 1000
CONFIDENCE = 0.95
SEED = 0
"""Of the drawings: the same for every cell."""
RECALLS = np.linspace(0, 1, 101)
"""Recalls at which COCO takes the precision."""
CHUNK = 100
"""Drawings at a time, so that their arrays stay in the processor's cache."""


def draw(images: int, resamples: int = RESAMPLES, seed: int = SEED) -> np.ndarray:
    """Weights ``(1 + B, I)``: of all images once, then of each drawing."""
    generator = np.random.default_rng(seed)
    drawn = generator.integers(images, size=(resamples, images))
    drawn += images * np.arange(resamples)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=images * resamples)
    once = np.ones((1, images), np.int32)
    return np.vstack([once, counts.reshape(resamples, images).astype(np.int32)])


def accumulate(matches: Matches, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """COCO's AP and AR ``(B, T)`` in percent under weights ``(B, I)``.

    As `COCOeval.accumulate` on images that are repeated as often as their weight says;
    NaN where nobody is to be found.
    """
    parts = [
        _accumulate(matches, weights[start : start + CHUNK])
        for start in range(0, len(weights), CHUNK)
    ]
    precision, recall = (np.concatenate(column) for column in zip(*parts, strict=True))
    return 100 * precision, 100 * recall


def _accumulate(matches: Matches, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    persons = weights @ matches.persons
    needed = _needed(persons)
    weight = weights[:, matches.image]
    thresholds = len(matches.true)
    precision = np.full((len(weights), thresholds), np.nan)
    recall = np.full((len(weights), thresholds), np.nan)
    some = persons > 0
    for t in range(thresholds):
        right = np.flatnonzero(matches.true[t])
        if t == 0 or (matches.ignored[t] != matches.ignored[t - 1]).any():
            counted = np.cumsum(weight * ~matches.ignored[t], axis=1, dtype=np.int32)
        found = np.cumsum(weight[:, right], axis=1, dtype=np.int32)
        # Only a right pose raises the precision, and the recall.
        at_recall = _precision_at(needed, found, counted[:, right])
        precision[some, t] = at_recall.mean(axis=1)[some]
        last = found[:, -1] if len(right) else np.zeros(len(weights))
        recall[some, t] = last[some] / persons[some]
    return precision, recall


def _needed(persons: np.ndarray) -> np.ndarray:
    """Persons ``(B, 101)`` that must be found to reach each recall, at least one.

    Of ``(B,)`` persons; rounded as ``found / persons >= recall`` is.
    """
    total = np.maximum(persons, 1)[:, None]
    needed = np.ceil(RECALLS * total)
    needed -= (needed - 1) / total >= RECALLS
    needed += needed / total < RECALLS
    return np.maximum(needed, 1).astype(np.int64)


def _precision_at(
    needed: np.ndarray, found: np.ndarray, counted: np.ndarray
) -> np.ndarray:
    """The best precision at each recall or above, ``(B, 101)``.

    Args:
        needed: ``(B, 101)`` persons at each recall.
        found: ``(B, n)`` right poses up to each right pose.
        counted: ``(B, n)`` all poses up to it.
    """
    drawings, poses = found.shape
    precision = np.zeros((drawings, poses + 1))
    precision[:, :-1] = found / (counted + np.spacing(1))
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    # One search for all rows: each is lifted above the one before it.
    lift = np.arange(drawings)[:, None] * (max(needed.max(), found.max(initial=0)) + 1)
    place = np.searchsorted((found + lift).ravel(), (needed + lift).ravel())
    place = place.reshape(needed.shape) - np.arange(drawings)[:, None] * poses
    return np.take_along_axis(best, np.minimum(place, poses), axis=1)


def resampled_mean(
    values: np.ndarray, counted: np.ndarray, image: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Mean ``(B,)`` over the counted keypoints of all persons under weights.

    Args:
        values: ``(N, K)`` of each person's keypoints.
        counted: ``(N, K)`` bool.
        image: ``(N,)`` place of each person's image.
        weights: ``(B, I)``.
    """
    images = weights.shape[1]
    total = np.bincount(image, np.where(counted, values, 0).sum(1), minlength=images)
    number = np.bincount(image, counted.sum(axis=1), minlength=images)
    sums = weights.astype(float) @ np.column_stack([total, number])
    with np.errstate(invalid="ignore"):
        return sums[:, 0] / sums[:, 1]


def interval(samples: np.ndarray, images: int) -> tuple[float, float]:
    """Bias-corrected percentile interval of ``(1 + B,)`` drawings, the estimate first.

    AP is a little too high on few images, and more so on images drawn twice: the share
    of drawings below the estimate says how much (Efron and Tibshirani 1993, ch. 14.3,
    without acceleration). Drawings spread less than samples do, as a variance that is
    divided by n; the tails are widened by as much (see `widening`).
    """
    estimate, drawn = samples[0], samples[1:][~np.isnan(samples[1:])]
    if len(drawn) == 0:
        return np.nan, np.nan
    below = ((drawn < estimate).mean() + (drawn <= estimate).mean()) / 2
    bias = ndtri(np.clip(below, 1 / len(drawn), 1 - 1 / len(drawn)))
    tail = widening(images) * student.ppf((1 - CONFIDENCE) / 2, max(images - 1, 1))
    low, high = np.quantile(drawn, ndtr(2 * bias + np.array([tail, -tail])))
    return float(low), float(high)


def widening(images: int) -> float:
    """By what the deviation of drawings of ``images`` is multiplied to be unbiased.

    As Hesterberg expands percentiles, with Student's t in place of the normal (What
    teachers should know about the bootstrap, The American Statistician 69, 2015).
    """
    return float(np.sqrt(images / max(images - 1, 1)))
