"""The metrics of each evaluation under every drawing of images."""

from dataclasses import dataclass

import numpy as np

from plugins.metrics.keypoints import PCKH
from stages.compare.statistics.bootstrap import accumulate, resampled_mean
from stages.compare.statistics.evaluations import TOLERANCE, Evaluation
from stages.compare.statistics.matching import THRESHOLDS, match
from stages.compare.statistics.persons import Truth
from stages.files import StageError

METRICS = ("AP", "AP50", "AP75", "AR", *PCKH, "PCK", "error_px")
"""Columns of metrics.csv that get intervals and tested differences."""


@dataclass(frozen=True)
class Sample:
    """A cell's decoder, measured on all images and on every drawing of them.

    Attributes:
        key, decoder, boxes: which one.
        own: whether it is the method's own decoder.
        persons, images: how many it was measured on.
        values: ``(1 + B,)`` by metric, of all images first; without those that the data
            or the kind of boxes do not define.
    """

    key: str
    decoder: str
    boxes: str
    own: bool
    persons: int
    images: int
    values: dict[str, np.ndarray]


def measure(one: Evaluation, weights: np.ndarray) -> Sample:
    """Measure an evaluation under the weights that `bootstrap.draw` gives."""
    matches = match(one.truth, one.poses)
    precision, recall = accumulate(matches, weights)
    at = {round(100 * threshold): n for n, threshold in enumerate(THRESHOLDS)}
    values = {
        "AP": precision.mean(axis=1),
        "AP50": precision[:, at[50]],
        "AP75": precision[:, at[75]],
        "AR": recall.mean(axis=1),
    }
    if one.pairs is not None:
        person = one.pairs.person
        labelled, image = one.truth.labelled[person], one.truth.image[person]
        correct = resampled_mean(one.pairs.correct, labelled, image, weights)
        values["PCK"] = 100 * correct
        values["error_px"] = resampled_mean(one.pairs.error, labelled, image, weights)
        values |= _pckh(one.pairs.heads, labelled, image, weights, one.truth)
    return Sample(
        key=one.key,
        decoder=one.decoder,
        boxes=one.boxes,
        own=one.own,
        persons=int(matches.persons.sum()),
        images=len(one.truth.images),
        values=values,
    )


def _pckh(
    heads: np.ndarray,
    labelled: np.ndarray,
    image: np.ndarray,
    weights: np.ndarray,
    truth: Truth,
) -> dict[str, np.ndarray]:
    """PCKh in percent; nothing on datasets that do not define it."""
    counted = list(truth.keypoint_set.pckh)
    if not counted or np.isnan(heads).any():
        return {}
    labelled = labelled[:, counted]
    return {
        name: 100 * resampled_mean(heads[:, counted] <= share, labelled, image, weights)
        for name, share in PCKH.items()
    }


def check(sample: Sample, ap: float) -> None:
    """Compare with the AP that evaluate wrote.

    Raises:
        StageError: predictions and metrics.csv are not of one run.
    """
    found = sample.values["AP"][0]
    if not abs(found - ap) <= TOLERANCE and not (np.isnan(found) and np.isnan(ap)):
        raise StageError(
            f"results/cells/{sample.key}: decoder {sample.decoder}: the predictions "
            f"have an AP of {found:.2f}, metrics.csv says {ap:.2f}; run python -m "
            f"stages.evaluate {sample.key} again"
        )
