"""Intervals of 95 % hold the truth in 93 to 97 % of simulated studies."""

from functools import partial

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


def measure_ap(persons: tuple, weights: np.ndarray, generator) -> dict:
    """Drawings of AP and AR, and of their differences between both networks."""
    image, labelled, errors = persons
    found: dict[str, list] = {"AP": [], "AR": []}
    for error in errors:
        alike = np.exp(-((error / SIGMAS) ** 2) / 2)
        oks = (alike * labelled).sum(axis=1) / labelled.sum(axis=1)
        # A score knows a part of the OKS.
        score = 0.6 * oks + generator.normal(0, 0.12, len(oks))
        matches = as_matches(image, weights.shape[1], oks, score)
        precision, recall = accumulate(matches, weights)
        found["AP"].append(precision.mean(axis=1))
        found["AR"].append(recall.mean(axis=1))
    return with_differences(found)


def measure_means(persons: tuple, weights: np.ndarray, _) -> dict:
    """Drawings of PCK and error, and of their differences between both networks."""
    image, labelled, errors = persons
    means = partial(resampled_mean, counted=labelled, image=image, weights=weights)
    found = {
        "PCK": [100 * means(error < PCK_PX) for error in errors],
        "error_px": [means(error) for error in errors],
    }
    return with_differences(found)


def with_differences(found: dict[str, list]) -> dict:
    """The first network's figures, and the first's minus the second's."""
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


def coverage(
    measure, images: int, crowded: bool, repetitions: int, drawings: int
) -> dict:
    """Share of intervals that hold the population's figure, in percent by metric."""
    generator = np.random.default_rng(1)
    once = np.ones((1, POPULATION), np.int32)
    truth = measure(draw_persons(POPULATION, crowded, generator), once, generator)
    held = dict.fromkeys(truth, 0)
    for seed in range(repetitions):
        generator = np.random.default_rng([2, seed])
        persons = draw_persons(images, crowded, generator)
        drawn = measure(persons, draw(images, drawings, seed), generator)
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


@pytest.mark.parametrize("measure", [measure_ap, measure_means])
def test_an_interval_of_95_percent_holds_the_truth_as_often(measure):
    """Of 100 repetitions one standard error is 2.2: far misses alone are found."""
    found = coverage(measure, 200, True, 100, 200)
    assert all(88 <= share <= 99.5 for share in found.values()), found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("images", "crowded"), [(400, False), (200, True)], ids=["alone", "crowded"]
)
@pytest.mark.parametrize(
    ("measure", "repetitions"), [(measure_ap, 1000), (measure_means, 4000)]
)
def test_coverage_with_as_many_drawings_as_compare_makes(
    measure, repetitions, images, crowded
):
    """One standard error is 0.7 of 1,000 repetitions, and 0.3 of 4,000."""
    found = coverage(measure, images, crowded, repetitions, 1000)
    print(found)
    assert all(93 <= share <= 97 for share in found.values()), found
