"""Intervals of 95 % hold the truth in 93 to 97 % of simulated studies."""

import numpy as np
import pytest

from stages.compare.statistics.bootstrap import (
    accumulate,
    draw,
    interval,
    resampled_mean,
)
from stages.compare.statistics.matching import THRESHOLDS, Matches

KEYPOINTS = 17
SIGMAS = np.linspace(1, 3, KEYPOINTS)
"""Error in px at which a keypoint's similarity is exp(-1/2)."""
PCK_PX = 2.5
POPULATION = 100_000
"""Images that stand for all there are."""


def draw_persons(images: int, crowded: bool, generator: np.random.Generator):
    """Persons of two networks: image, labelled, and for each network its errors.

    How hard an image is weighs as much as how hard a person is; one image has a person,
    or a geometric number of them, 3 in the mean. Errors are Rayleigh's of log-normal
    scale, and up to 6 % of the keypoints are far off.

    Returns:
        ``image (N,)``, ``labelled (N, K)`` and two ``(N, K)`` in px.
    """
    count = generator.geometric(1 / 3, images).clip(max=12) if crowded else 1
    image = np.repeat(np.arange(images), count)
    shape = (len(image), KEYPOINTS)
    hard = generator.normal(size=images)[image] + generator.normal(size=len(image))
    labelled = generator.random(shape) < 0.8
    labelled[:, 0] = True
    errors = []
    for gain in (0, 0.05):
        own = generator.normal(0, 0.4, len(image))
        scale = np.exp(0.1 - gain + 0.35 * hard + own)
        error = generator.rayleigh(size=shape) * scale[:, None]
        far = generator.random(shape) < 0.06 / (1 + np.exp(-hard))[:, None]
        errors.append(error + far * generator.exponential(15, shape))
    return image, labelled, errors


def measure(images: int, crowded: bool, weights: np.ndarray, generator) -> dict:
    """Drawings of the metrics of both networks and of their differences."""
    image, labelled, errors = draw_persons(images, crowded, generator)
    found: dict[str, list] = {"AP": [], "AR": [], "PCK": [], "error_px": []}
    for error in errors:
        alike = np.exp(-((error / SIGMAS) ** 2) / 2)
        oks = (alike * labelled).sum(axis=1) / labelled.sum(axis=1)
        # A score knows a part of the OKS.
        score = 0.6 * oks + generator.normal(0, 0.12, len(oks))
        precision, recall = accumulate(as_matches(image, images, oks, score), weights)
        found["AP"].append(precision.mean(axis=1))
        found["AR"].append(recall.mean(axis=1))
        hit = error < PCK_PX
        found["PCK"].append(100 * resampled_mean(hit, labelled, image, weights))
        found["error_px"].append(resampled_mean(error, labelled, image, weights))
    single = {name: both[0] for name, both in found.items()}
    return single | {f"{name}, difference": a - b for name, (a, b) in found.items()}


def as_matches(
    image: np.ndarray, images: int, oks: np.ndarray, score: np.ndarray
) -> Matches:
    """Every pose finds its own person or nobody."""
    order = np.argsort(-score, kind="stable")
    true = (oks >= THRESHOLDS[:, None])[:, order]
    return Matches(
        image=image[order],
        matched=np.where(true, order, -1),
        true=true,
        ignored=np.zeros_like(true),
        order=order,
        persons=np.bincount(image, minlength=images),
    )


def coverage(repetitions: int, drawings: int, images: int, crowded: bool) -> dict:
    """Share of intervals that hold the population's figure, in percent by metric."""
    once = np.ones((1, POPULATION), np.int32)
    truth = measure(POPULATION, crowded, once, np.random.default_rng(1))
    held = dict.fromkeys(truth, 0)
    for seed in range(repetitions):
        generator = np.random.default_rng([2, seed])
        drawn = measure(images, crowded, draw(images, drawings, seed), generator)
        for name, samples in drawn.items():
            low, high = interval(samples, images)
            held[name] += low <= truth[name][0] <= high
    return {name: 100 * count / repetitions for name, count in held.items()}


def test_an_interval_of_few_images_is_wide_enough():
    """Means of 12 normal values; of 2,000 repetitions one standard error is 0.5.

    Percentiles alone hold the mean in 90 %.
    """
    weights = draw(12, 300)
    values = np.random.default_rng(0).normal(size=(2000, 12))
    bounds = np.array([interval(one, 12) for one in values @ weights.T / 12])
    held = (bounds[:, 0] <= 0) & (bounds[:, 1] >= 0)
    assert 93 <= 100 * held.mean() <= 97


def test_an_interval_of_95_percent_holds_the_truth_as_often():
    """Of 150 repetitions one standard error is 1.8: far misses alone are found."""
    found = coverage(150, 200, 150, crowded=True)
    assert all(90 <= share <= 98.7 for share in found.values()), found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("images", "crowded"), [(400, False), (200, True)], ids=["alone", "crowded"]
)
def test_coverage_with_as_many_drawings_as_compare_makes(images, crowded):
    """Of 1,000 repetitions one standard error is 0.7."""
    found = coverage(1000, 1000, images, crowded)
    assert all(93 <= share <= 97 for share in found.values()), found
