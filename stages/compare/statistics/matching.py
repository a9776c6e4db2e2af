"""COCO's keypoint matching for all images at once, equal to pycocotools'.

pycocotools matches image by image in Python: a minute for the cells and decoders of a
grid, and again for each kind of error that is mended. Here the best remaining pose of
every image is matched at the same time, on arrays padded to the fullest image.
"""

from dataclasses import dataclass

import numpy as np

from plugins.metrics.submission import padded
from stages.compare.statistics.persons import Poses, Truth

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""COCO's OKS thresholds."""
MOST_POSES = 20
"""Poses that count in an image, at most: COCO's maxDets for keypoints."""
EVERYBODY = (0.0, 1e10)
"""A range of areas in image px squared that leaves nobody out."""


@dataclass(frozen=True)
class Matches:
    """What re-accumulating AP needs of an evaluation, poses by falling score.

    Attributes:
        image: ``(D,)`` place of each pose's image.
        matched: ``(T, D)`` place of the person that a pose found; -1 where none.
        true, ignored: ``(T, D)`` bool: counts as right; does not count.
        order: ``(D,)`` place of each pose in ``Poses``.
        persons: ``(I,)`` how many persons are to be found in each image.
    """

    image: np.ndarray
    matched: np.ndarray
    true: np.ndarray
    ignored: np.ndarray
    order: np.ndarray
    persons: np.ndarray


def match(
    truth: Truth,
    poses: Poses,
    thresholds: np.ndarray = THRESHOLDS,
    areas: tuple[float, float] = EVERYBODY,
) -> Matches:
    """Match poses to persons as ``COCOeval.evaluateImg`` does.

    Args:
        areas: persons outside this range in image px squared are ignored, as are crowds
            and those without a labelled keypoint.
    """
    count = len(truth.images)
    person = padded(truth.image, count)
    pose = padded(poses.image, count)[:, :MOST_POSES]
    exists = person >= 0
    outside = (truth.area < areas[0]) | (truth.area > areas[1])
    counts = truth.labelled.any(axis=1) & ~truth.crowd & ~outside
    regular = exists & np.append(counts, False)[person]
    once = exists & ~np.append(truth.crowd, False)[person]
    oks = _similarity(truth, poses, person, pose)
    found = _greedy(oks, exists, regular, once, thresholds)

    images, ranks = np.nonzero(pose >= 0)
    order = np.argsort(-poses.score[pose[images, ranks]], kind="stable")
    images, ranks = images[order], ranks[order]
    column = found[:, images, ranks]
    matched = np.where(column >= 0, person[images, column], -1)
    size = poses.area[pose[images, ranks]]
    wrong_size = (size < areas[0]) | (size > areas[1])
    right = np.append(counts, False)[matched]
    return Matches(
        image=images,
        matched=matched,
        true=right,
        ignored=np.where(matched >= 0, ~right, wrong_size),
        order=pose[images, ranks],
        persons=np.bincount(truth.image[counts], minlength=count),
    )


def _similarity(
    truth: Truth, poses: Poses, person: np.ndarray, pose: np.ndarray
) -> np.ndarray:
    """OKS ``(I, D, G)`` of each image's pairs as ``computeOks`` has it; -1: no pair."""
    images, ranks, columns = np.nonzero(
        (pose[:, :, None] >= 0) & (person[:, None] >= 0)
    )
    d, g = pose[images, ranks], person[images, columns]
    labelled = truth.labelled[g]
    none = ~labelled.any(axis=1)
    offset = poses.keypoints[d] - truth.keypoints[g]
    offset[none] = _outside(poses.keypoints[d[none]], truth.bbox[g[none]])
    labelled[none] = True
    area = truth.area[g, None] + np.spacing(1)
    alike = np.exp(-(offset**2).sum(axis=-1) / truth.variance / area / 2)
    table = np.full((*pose.shape, person.shape[1]), -1.0)
    table[images, ranks, columns] = (alike * labelled).sum(1) / labelled.sum(1)
    return table


def _outside(keypoints: np.ndarray, bbox: np.ndarray) -> np.ndarray:
    """How far keypoints ``(n, K, 2)`` lie outside boxes of thrice the sides, px."""
    corner, sides = bbox[:, None, :2], bbox[:, None, 2:]
    low, high = corner - sides, corner + 2 * sides
    return np.maximum(0, low - keypoints) + np.maximum(0, keypoints - high)


def _greedy(
    oks: np.ndarray,
    exists: np.ndarray,
    regular: np.ndarray,
    once: np.ndarray,
    thresholds: np.ndarray,
) -> np.ndarray:
    """Column of the person that each pose finds, ``(T, I, D)``; -1 where none.

    By falling score a pose takes the most similar person that is left at or above the
    threshold; an ignored person only where no other is. The last of equals wins.

    Args:
        oks: ``(I, D, G)``.
        exists, regular, once: ``(I, G)``: there is such a person; it is not ignored; it
            is found once at most, as a crowd is not.
    """
    bound = np.minimum(thresholds, 1 - 1e-10)[:, None, None]
    free = np.repeat(exists[None], len(thresholds), axis=0)
    found = np.full((len(thresholds), *oks.shape[:2]), -1)
    last = oks.shape[2] - 1
    for rank in range(oks.shape[1]):
        value = oks[:, rank]
        near = free & (value >= bound)
        near &= regular | ~(near & regular).any(axis=-1, keepdims=True)
        alike = np.where(near, value, -1.0)
        column = last - np.argmax(alike[..., ::-1], axis=-1)
        hit = near.any(axis=-1)
        found[:, :, rank] = np.where(hit, column, -1)
        t, image = np.nonzero(hit)
        free[t, image, column[hit]] &= ~once[image, column[hit]]
    return found
