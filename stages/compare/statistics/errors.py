"""Kinds of localisation error, after Ronchi and Perona (ICCV 2017, section 3.1).

Of each keypoint of a pose that found its person at an OKS of 0.1 or more, the nearest
annotation decides, near in the sense of the keypoint's own similarity: its own place
(good from 0.85 on, jitter from 0.5), the place of its mirror image (inversion), that of
another person's keypoint, mirrored or not (swap), or none within 0.5 (miss).
"""

import numpy as np
import pandas as pd

from stages.compare.statistics.bootstrap import accumulate
from stages.compare.statistics.evaluations import Evaluation
from stages.compare.statistics.matching import match, padded
from stages.compare.statistics.persons import Poses, Truth

LOCALISED = np.array([0.1])
"""Least OKS of a pose whose errors are looked at."""
NEAR, GOOD = 0.5, 0.85
"""Similarities of a keypoint from which it is jittered, and from which it is good."""
KINDS = ("jitter", "inversion", "swap", "miss", "good")
COLUMNS = ["key", "decoder", "kind", "share", "AP_gain"]


def error_kinds(one: Evaluation, ap: float) -> pd.DataFrame:
    """Share of each kind among labelled keypoints, and the AP gained by mending it.

    Mending lifts the keypoints of one kind alone to the similarity that they would have
    without that error: jitter to 0.85, a miss to 0.5, inversions and swaps to what they
    have at the wrong place. Shares are in percent of the labelled keypoints of the
    poses looked at.

    Args:
        ap: of the evaluation as it is.
    """
    pose, person, kind, similarity = classify(one.truth, one.poses)
    labelled = kind >= 0
    rows = []
    for n, name in enumerate(KINDS):
        share = 100 * (kind == n).sum() / max(labelled.sum(), 1)
        gain = 0.0
        if name != "good":
            better = one.poses.keypoints.copy()
            goal = {"jitter": GOOD, "miss": NEAR}.get(name, similarity)
            place = mended(one.truth, person, np.broadcast_to(goal, kind.shape))
            wrong = kind == n
            changed = better[pose]
            changed[wrong] = place[wrong]
            better[pose] = changed
            once = np.ones((1, len(one.truth.images)), np.int32)
            precision, _ = accumulate(match(one.truth, one.poses.moved(better)), once)
            gain = precision.mean() - ap
        rows.append((one.key, one.decoder, name, share, gain))
    return pd.DataFrame(rows, columns=COLUMNS)


def classify(
    truth: Truth, poses: Poses
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The kind of every keypoint of the poses that found a person.

    Returns:
        ``(M,)`` places of the poses and of their persons; ``(M, K)`` place in `KINDS`,
        -1 where the keypoint is not labelled; ``(M, K)`` the similarity to the nearest
        annotation.
    """
    matches = match(truth, poses, LOCALISED)
    hit = matches.true[0]
    pose, person = matches.order[hit], matches.matched[0][hit]
    others = padded(truth.image, len(truth.images))[truth.image[person]]
    alike = np.where(
        (others == person[:, None])[..., None, None],
        -1.0,
        _similarity(truth, others, poses.keypoints[pose]),
    )
    own = _similarity(truth, person[:, None], poses.keypoints[pose])[:, 0]
    # Not -1, which is no number where no pose found anybody.
    flat = alike.reshape(len(pose), 2 * others.shape[1], alike.shape[-1])
    every = np.concatenate([own, flat], axis=1)
    nearest, best = every.argmax(axis=1), every.max(axis=1)
    # The first place is the keypoint's own, the second that of its mirror image.
    kind = np.select(
        [best < NEAR, nearest > 1, nearest == 1, best < GOOD],
        [KINDS.index(name) for name in ("miss", "swap", "inversion", "jitter")],
        KINDS.index("good"),
    )
    return pose, person, np.where(truth.labelled[person], kind, -1), best


def _similarity(truth: Truth, persons: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """Of keypoints ``(M, K, 2)`` to those of persons ``(M, G)``, as they are and
    mirrored: ``(M, G, 2, K)``; -1 where one is not labelled or there is no person.
    """
    flip = truth.keypoint_set.flip_indices
    places = np.stack([truth.keypoints, truth.keypoints[:, flip]], axis=1)[persons]
    labelled = np.stack([truth.labelled, truth.labelled[:, flip]], axis=1)[persons]
    area = truth.area[persons][..., None, None] + np.spacing(1)
    square = ((keypoints[:, None, None] - places) ** 2).sum(axis=-1)
    there = labelled & (persons >= 0)[..., None, None]
    return np.where(there, np.exp(-square / truth.variance / area / 2), -1.0)


def mended(truth: Truth, person: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Places ``(M, K, 2)`` in image px whose similarity to persons is ``(M, K)``.

    The inverse of OKS, along x. The released code has sigma^2 where OKS has
    (2 sigma)^2, so that its mended keypoints lie nearer than the paper says.
    """
    area = truth.area[person, None] + np.spacing(1)
    square = -np.log(np.clip(goal, np.spacing(1), 1)) * 2 * area * truth.variance
    place = truth.keypoints[person].copy()
    place[..., 0] += np.sqrt(np.maximum(square, 0))
    return place
