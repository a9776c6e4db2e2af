"""Which poses are submitted to COCO's evaluation, with which score (HRNet's rules)."""

import numpy as np

SCORE_THRESHOLD = 0.2
"""Keypoints that score less do not count in a person's score (HRNet, MMPose)."""
NMS_THRESHOLD = 0.9
"""OKS above which a pose repeats a better one."""


def person_scores(scores: np.ndarray) -> np.ndarray:
    """Mean ``(N,)`` of the keypoint scores ``(N, K)`` above 0.2; 0 where none is."""
    scores = scores.astype(float)
    counted = scores > SCORE_THRESHOLD
    number = counted.sum(axis=1)
    total = (scores * counted).sum(axis=1)
    return np.where(number > 0, total / np.maximum(number, 1), 0.0)


def suppress(
    image: np.ndarray,
    keypoints: np.ndarray,
    score: np.ndarray,
    area: np.ndarray,
    sigmas: np.ndarray,
) -> np.ndarray:
    """Places of the poses that repeat no better one of their image: OKS-NMS at 0.9.

    MMPose's ``oks_nms`` for all images at once. Of equal scores the later comes first.

    Args:
        image: ``(N,)`` id of each pose's image.
        keypoints: ``(N, K, 2)`` in image px.
        score: ``(N,)`` of the person.
        area: ``(N,)`` of the box that it was predicted in, image px squared.
        sigmas: ``(K,)`` of the keypoint set.

    Returns:
        By image and falling score.
    """
    keypoints = keypoints.astype(float)
    order = np.lexsort((-np.arange(len(image)), -score, image))
    names, image = np.unique(image[order], return_inverse=True)
    table = padded(image, len(names))
    table = np.where(table >= 0, np.append(order, -1)[table], -1)
    kept = table >= 0
    variance = (2 * np.asarray(sigmas)) ** 2
    for rank in range(table.shape[1] - 1):
        several = np.flatnonzero(kept[:, rank] & kept[:, rank + 1 :].any(axis=1))
        first, others = table[several, rank], table[several, rank + 1 :]
        offset = keypoints[others] - keypoints[first][:, None]
        mean = (area[first][:, None] + area[others]) / 2 + np.spacing(1)
        error = (offset**2).sum(axis=-1) / variance / mean[..., None] / 2
        # oks_nms compares in float32.
        alike = np.exp(-error).mean(axis=-1).astype(np.float32)
        kept[several, rank + 1 :] &= alike <= NMS_THRESHOLD
    return table[kept]


def padded(image: np.ndarray, count: int) -> np.ndarray:
    """Places of the members of each image, ``(I, most)``; -1 where there are no more.

    Args:
        image: ``(N,)`` ascending.
        count: I.
    """
    sizes = np.bincount(image, minlength=count)
    table = np.full((count, max(1, sizes.max(initial=0))), -1)
    starts = np.cumsum(sizes) - sizes
    table[image, np.arange(len(image)) - starts[image]] = np.arange(len(image))
    return table
