"""OKS-NMS, equal to MMPose's: poses that repeat a better one are not submitted."""

import numpy as np

from stages.compare.statistics.matching import padded
from stages.compare.statistics.persons import Poses, Truth

NMS_THRESHOLD = 0.9


def suppress(poses: Poses, areas: np.ndarray, truth: Truth) -> Poses:
    """Drop poses that repeat a better one of their image: MMPose's ``oks_nms``.

    Args:
        areas: ``(D,)`` of the boxes that the poses were predicted in, image px squared.
    """
    # Among equal scores oks_nms takes the later one first.
    order = np.lexsort((-np.arange(len(areas)), -poses.score, poses.image))
    table = padded(poses.image, len(truth.images))
    table = np.where(table >= 0, np.append(order, -1)[table], -1)
    kept = table >= 0
    for rank in range(table.shape[1] - 1):
        several = np.flatnonzero(kept[:, rank] & kept[:, rank + 1 :].any(axis=1))
        first, others = table[several, rank], table[several, rank + 1 :]
        offset = poses.keypoints[others] - poses.keypoints[first][:, None]
        area = (areas[first][:, None] + areas[others]) / 2 + np.spacing(1)
        error = (offset**2).sum(axis=-1) / truth.variance / area[..., None] / 2
        alike = np.exp(-error).mean(axis=-1).astype(np.float32)
        kept[several, rank + 1 :] &= alike <= NMS_THRESHOLD
    rows = table[kept]
    return Poses(
        poses.image[rows], poses.keypoints[rows], poses.score[rows], poses.row[rows]
    )
