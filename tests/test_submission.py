"""What is submitted to COCO's evaluation: MMPose's suppression, HRNet's scores."""

import numpy as np
import pytest
from mmpose.evaluation.functional import oks_nms

from plugins.datasets.keypoint_sets import COCO17
from plugins.metrics.submission import NMS_THRESHOLD, person_scores, suppress
from tests.fake_persons import SIGMAS, make_both


def suppressed_by_mmpose(image, keypoints, score, area) -> list[int]:
    """Image by image. Among equal scores its order is chance: here the later first."""
    score = score + 1e-12 * np.arange(len(score))
    kept = []
    for one in np.unique(image):
        rows = np.flatnonzero(image == one)
        poses = [
            {
                "keypoints": np.column_stack([keypoints[row], np.ones(17)]),
                "score": score[row],
                "area": area[row],
            }
            for row in rows
        ]
        kept += rows[oks_nms(poses, NMS_THRESHOLD, sigmas=SIGMAS)].tolist()
    return kept


@pytest.mark.parametrize("seed", range(4))
def test_repeated_poses_are_suppressed_as_mmpose_does(seed):
    """Up to ten poses in an image, in no order, with equal scores."""
    _, truth, poses = make_both(40, seed, spread=0.02, repeated=0.9)
    draw = np.random.default_rng(seed)
    order = draw.permutation(len(poses.image))
    image = truth.images[poses.image][order]  # ids, not places
    keypoints, score = poses.keypoints[order], poses.score[order].astype(float)
    area = truth.area[draw.integers(len(truth.area), size=len(order))]
    assert np.unique(image, return_counts=True)[1].max() >= 8
    assert len(np.unique(score)) < 0.9 * len(score)
    kept = suppress(image, keypoints, score, area, COCO17.sigmas)
    assert kept.tolist() == suppressed_by_mmpose(image, keypoints, score, area)
    assert 0.3 * len(order) < len(kept) < 0.9 * len(order)


def test_of_two_equal_poses_the_better_stays():
    keypoints = np.random.default_rng(0).uniform(0, 99, (3, 17, 2))
    keypoints[2] = keypoints[0]
    columns = (np.array([7, 7, 7]), keypoints, np.array([0.5, 0.4, 0.9]))
    assert suppress(*columns, np.full(3, 1e3), SIGMAS).tolist() == [2, 1]
    apart = (np.array([7, 7, 2]), *columns[1:])
    assert suppress(*apart, np.full(3, 1e3), SIGMAS).tolist() == [2, 0, 1]


def test_nobody_is_left_of_nobody():
    none = np.zeros(0)
    assert len(suppress(none, np.zeros((0, 17, 2)), none, none, SIGMAS)) == 0


def test_scores_of_persons_leave_weak_keypoints_out():
    scores = np.full((2, 17), 0.1)
    scores[0, :4] = (0.9, 0.7, 0.2, 0.3)
    assert person_scores(scores) == pytest.approx([(0.9 + 0.7 + 0.3) / 3, 0])
