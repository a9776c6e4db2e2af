"""Keypoint metrics that need no matching: every prediction belongs to one person."""

import numpy as np

PCK_THRESHOLD = 0.05
"""Share of the box's longer side within which a keypoint is correct (MMPose's PCK)."""
PCKH = {"PCKh": 0.5, "PCKh@0.1": 0.1}
"""Columns, and the share of the head's size within which a keypoint is correct.

MPII's definition. (HRNet's code calls a threshold of 0.11 its @0.1.)
"""


def distances(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Euclidean distances ``(N, K)`` between keypoints ``(N, K, 2)``."""
    return np.linalg.norm(predicted - truth, axis=-1)


def correct_keypoints(distance: np.ndarray, bbox: np.ndarray) -> np.ndarray:
    """Which keypoints count as correct for PCK, ``(N, K)`` bool.

    Args:
        distance: ``(N, K)`` in image pixels.
        bbox: ``(N, 4)`` x, y, w, h in image pixels.
    """
    return distance <= PCK_THRESHOLD * bbox[:, 2:].max(axis=1)[:, None]


def object_keypoint_similarity(
    distance: np.ndarray, area: np.ndarray, sigmas: np.ndarray
) -> np.ndarray:
    """Similarity ``(N, K)`` of each keypoint; its mean over the labelled ones is OKS.

    ``exp(-d^2 / (2 area (2 sigma)^2))``, as pycocotools' ``computeOks`` has it.

    Args:
        distance: ``(N, K)`` in image pixels.
        area: ``(N,)`` in image pixels squared.
        sigmas: ``(K,)`` of the keypoint set.
    """
    variance = (2 * np.asarray(sigmas)) ** 2
    scaled = distance**2 / variance / (area[:, None] + np.spacing(1)) / 2
    return np.exp(-scaled)


def mean_labelled(values: np.ndarray, visible: np.ndarray) -> float:
    """Mean of ``(N, K)`` values over the labelled keypoints; NaN if there are none."""
    labelled = visible > 0
    return float(values[labelled].mean()) if labelled.any() else float("nan")
