"""COCO's keypoint AP and AR, by pycocotools."""

import io
from contextlib import redirect_stdout

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from plugins.datasets.crop_store import CropStore
from plugins.datasets.keypoint_sets import KeypointSet
from plugins.metrics.submission import person_scores, suppress

COCO_STATS = ("AP", "AP50", "AP75", "APM", "APL", "AR")


def coco_metrics(
    coco: dict,
    store: CropStore,
    keypoints: np.ndarray,
    scores: np.ndarray,
    keypoint_set: KeypointSet,
    box_threshold: float = 0.0,
) -> dict[str, float]:
    """COCO's keypoint AP and AR in percent by pycocotools; NaN where it has nobody.

    A person's score is the mean of its keypoint scores above 0.2, times the box's;
    OKS-NMS at 0.9 (HRNet, lib/dataset/coco.py).

    Args:
        coco: of ``open_truth``.
        store: whose persons were predicted.
        keypoints: ``(N, K, 2)`` in image pixels; scores: ``(N, K)``.
        keypoint_set: that of the data.
        box_threshold: detected boxes that score less are left out.
    """
    sigmas = np.array(keypoint_set.sigmas)
    person = person_scores(scores) * store.box_score
    rows = np.flatnonzero(store.box_score >= box_threshold)
    columns = (store.image_id, keypoints, person, store.box_area)
    rows = rows[suppress(*(column[rows] for column in columns), sigmas)]
    if len(rows) == 0:
        return dict.fromkeys(COCO_STATS, 0.0)
    results = to_results(
        store.image_id[rows],
        keypoints[rows],
        scores[rows],
        person[rows],
        coco["categories"][0]["id"],
    )
    with redirect_stdout(io.StringIO()):
        truth = COCO()
        # COCOeval writes into the annotations.
        annotations = [dict(annotation) for annotation in coco["annotations"]]
        truth.dataset = coco | {"annotations": annotations}
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "keypoints")
        evaluation.params.kpt_oks_sigmas = sigmas
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    chosen = zip(COCO_STATS, evaluation.stats[:6].tolist(), strict=True)
    return {name: 100 * v if v >= 0 else float("nan") for name, v in chosen}


def to_results(
    image_id: np.ndarray,
    keypoints: np.ndarray,
    scores: np.ndarray,
    person: np.ndarray,
    category: int,
) -> list[dict]:
    """Predictions as COCO results.

    Args:
        image_id: ``(N,)``.
        keypoints: ``(N, K, 2)`` in image pixels; scores: ``(N, K)``.
        person: scores ``(N,)`` of the persons.
        category: id of COCO's person.
    """
    triplets = np.concatenate((keypoints, scores[..., None]), axis=-1, dtype=float)
    columns = zip(image_id, triplets, person, strict=True)
    return [
        {
            "image_id": int(image),
            "category_id": category,
            "keypoints": triplet.ravel().tolist(),
            "score": float(score),
        }
        for image, triplet, score in columns
    ]
