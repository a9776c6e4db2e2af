"""Intervals and tests: COCO's own figures on every drawing, honest uncertainty."""

import time

import numpy as np
import pandas as pd
import pytest

from plugins.datasets.keypoint_sets import COCO17
from plugins.datasets.prepared import open_split
from stages.compare.statistics.bootstrap import (
    accumulate,
    draw,
    resampled_mean,
)
from stages.compare.statistics.differences import assess, correct
from stages.compare.statistics.matching import (
    EVERYBODY,
    THRESHOLDS,
    Matches,
    match,
)
from stages.compare.statistics.persons import Poses, make_truth
from tests.fake_persons import make_both, run_cocoeval

RANGES = {EVERYBODY: (0, 5), (32**2, 96**2): (3, 8), (96**2, 1e5**2): (4, 9)}
"""Areas, and where pycocotools has their AP and AR."""


@pytest.mark.parametrize("seed", range(4))
def test_ap_and_ar_are_those_of_pycocotools(seed):
    """In all of its ranges, with people to ignore, ties and images without people."""
    coco, truth, poses = make_both(40, seed, spread=0.15)
    stats = run_cocoeval(coco, truth, poses).stats
    once = draw(40, 0)
    for areas, (ap, ar) in RANGES.items():
        precision, recall = accumulate(match(truth, poses, areas=areas), once)
        assert 5 < precision.mean() < 95
        assert precision.mean() == pytest.approx(100 * stats[ap], abs=1e-10)
        assert recall.mean() == pytest.approx(100 * stats[ar], abs=1e-10)


def test_an_image_counts_twenty_poses():
    _, truth, poses = make_both(3, 1, repeated=0)
    many = Poses(*(np.repeat(column, 25, axis=0) for column in vars(poses).values()))
    matches = match(truth, many)
    present = np.bincount(poses.image, minlength=3) > 0
    assert np.bincount(matches.image, minlength=3).tolist() == (20 * present).tolist()


def test_a_drawing_is_what_pycocotools_finds_on_the_drawn_images():
    """Recomputed from its results and annotations, repeated as images were drawn.

    Without equal scores: their order is that of the results, which repeating changes.
    """
    coco, truth, poses = make_both(30, 5, spread=0.15, ties=False)
    weights = draw(30, 6, seed=3)
    precision, recall = accumulate(match(truth, poses), weights)
    for place, weight in enumerate(weights):
        images = np.repeat(np.arange(30), weight)
        stats = run_cocoeval(coco, truth, poses, images).stats
        found = [precision[place].mean(), precision[place, 0], precision[place, 5]]
        assert found == pytest.approx((100 * stats[:3]).tolist(), abs=1e-9)
        assert recall[place].mean() == pytest.approx(100 * stats[5], abs=1e-9)


def test_a_drawing_without_anybody_has_no_ap():
    _, truth, poses = make_both(30, 5)
    empty = np.flatnonzero(np.bincount(truth.image, minlength=30) == 0)
    weights = np.zeros((2, 30), np.int32)
    weights[0, empty[0]] = 30
    weights[1] = 1
    precision, recall = accumulate(match(truth, poses), weights)
    assert np.isnan(precision[0]).all() and np.isnan(recall[0]).all()
    assert np.isfinite(precision[1]).all()


def test_drawings_are_of_whole_images_and_always_the_same():
    weights = draw(50, 200)
    assert (weights[0] == 1).all() and (weights.sum(axis=1) == 50).all()
    assert np.array_equal(weights, draw(50, 200))
    assert weights[1:].std() == pytest.approx(1, abs=0.05)  # Poisson's, nearly


def test_truth_is_the_prepared_one_by_image(tiny_work):
    coco = open_split(tiny_work / "data/tiny", "val").coco
    truth = make_truth(coco, COCO17)
    assert (np.diff(truth.image) >= 0).all() and len(truth.images) == 3
    person = coco["annotations"][-1]
    (place,) = np.flatnonzero(truth.annotation_id == person["id"])
    assert truth.images[truth.image[place]] == person["image_id"]
    assert truth.keypoints[place].ravel().tolist() == [
        value for n, value in enumerate(person["keypoints"]) if n % 3 < 2
    ]


def test_a_mean_is_of_the_keypoints_of_the_drawn_images():
    generator = np.random.default_rng(0)
    values, counted = generator.random((9, 4)), generator.random((9, 4)) < 0.7
    image = np.array([0, 0, 1, 2, 2, 2, 4, 4, 5])
    weights = draw(6, 20, seed=1)
    found = resampled_mean(values, counted, image, weights)
    for weight, mean in zip(weights, found, strict=True):
        rows = np.concatenate([np.flatnonzero(image == i) for i in range(6)] * 1)
        rows = np.repeat(rows, weight[image[rows]])
        assert mean == pytest.approx(values[rows][counted[rows]].mean())


def persons_of(oks: np.ndarray, score: np.ndarray) -> Matches:
    """Matches of images with one person each."""
    order = np.argsort(-score, kind="stable")
    image = np.arange(len(oks))
    true = oks >= THRESHOLDS[:, None]
    matched = np.where(true, image, -1)
    return Matches(
        image=image[order],
        matched=matched[:, order],
        true=true[:, order],
        ignored=np.zeros_like(true),
        order=order,
        persons=np.ones(len(oks), int),
    )


def simulate(count: int, generator: np.random.Generator, quality: float = 0.3):
    """OKS and scores of persons: a score knows a part of the OKS."""
    oks = 1 / (1 + np.exp(-(quality + 1.2 * generator.normal(size=count))))
    return oks, oks + generator.normal(0, 0.15, count)


def differ(a: tuple, b: tuple, images: int) -> dict[str, float]:
    weights = draw(images, 200)
    drawn = [accumulate(persons_of(*one), weights)[0].mean(axis=1) for one in (a, b)]
    return assess(drawn[0] - drawn[1], images)


def test_two_copies_of_a_method_do_not_differ():
    copy = simulate(300, np.random.default_rng(0))
    found = differ(copy, copy, 300)
    assert (found["difference"], found["p"]) == (0, 1)
    assert (found["low"], found["high"]) == (0, 0)


def test_a_planted_difference_is_found():
    """Each person's OKS rises by 0.03: a true gain of 4.6 AP, measured on 400,000."""
    generator = np.random.default_rng(0)
    oks, score = simulate(600, generator)
    noisy = oks + generator.normal(0, 0.02, 600)
    found = differ((oks + 0.03, score), (noisy, score), 600)
    many, scores = simulate(400_000, generator)
    other = many + generator.normal(0, 0.02, 400_000)
    once = np.ones((1, 400_000), np.int32)
    aps = [accumulate(persons_of(x, scores), once)[0] for x in (many + 0.03, other)]
    planted = aps[0].mean() - aps[1].mean()
    assert found["p"] < 0.001
    assert found["low"] < planted < found["high"]
    assert found["high"] - found["low"] < 2.5


def test_methods_that_are_equally_good_rarely_differ():
    """False findings at 0.05, of 100: between the binomial's 0.4 % and 99.6 %."""
    generator = np.random.default_rng(4)
    found = 0
    for _ in range(100):
        oks, score = simulate(100, generator)
        a, b = (oks + generator.normal(0, 0.1, 100) for _ in range(2))
        found += differ((a, score), (b, score), 100)["p"] < 0.05
    assert 1 <= found <= 11


def test_difference_of_undefined_metrics_is_undefined():
    found = assess(np.full(10, np.nan), 9)
    assert all(np.isnan(value) for value in found.values())


def test_p_is_corrected_by_holm():
    p = pd.Series([0.01, 0.04, np.nan, 0.03, 0.005], index=list("abcde"))
    # Ranked 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, and never falling.
    expected = [0.03, 0.06, np.nan, 0.06, 0.02]
    assert correct(p).tolist() == pytest.approx(expected, nan_ok=True)
    assert list(correct(p).index) == list("abcde")
    assert correct(pd.Series([0.6, 0.7])).tolist() == [1, 1]


def test_a_thousand_drawings_of_coco_take_seconds():
    """As many persons and images as COCO val2017 has; processor time of one core."""
    images, persons = 2346, 6352
    generator = np.random.default_rng(0)
    oks, score = simulate(persons, generator)
    matches = persons_of(oks, score)
    place = np.append(np.arange(images), generator.integers(images, size=4006))
    matches = Matches(
        **vars(matches) | {"image": place[matches.image], "persons": np.bincount(place)}
    )
    started = time.process_time()
    precision, _ = accumulate(matches, draw(images, 1000))
    assert precision.shape == (1001, 10)
    assert time.process_time() - started < 10
