"""COCO's keypoint AP and AR, by pycocotools."""

import io
import json
from contextlib import redirect_stdout

import numpy as np
from mmpose.evaluation.functional import oks_nms
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from plugins.datasets.crop_store import CropStore
from plugins.datasets.keypoint_sets import KeypointSet

COCO_STATS = ("AP", "AP50", "AP75", "APM", "APL", "AR")
SCORE_THRESHOLD = 0.2
"""Keypoints that score less do not count in a person's score (HRNet, MMPose)."""
NMS_THRESHOLD = 0.9


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
    category = coco["categories"][0]["id"]
    results = to_results(store, keypoints, scores, category)
    counted = np.flatnonzero(store.box_score >= box_threshold)
    results = [results[row] for row in counted]
    kept = suppress(results, store.image_id[counted], sigmas)
    if not kept:
        return dict.fromkeys(COCO_STATS, 0.0)
    with redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = json.loads(json.dumps(coco))
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(kept), "keypoints")
        evaluation.params.kpt_oks_sigmas = sigmas
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    chosen = zip(COCO_STATS, evaluation.stats[:6], strict=True)
    return {name: 100 * v if v >= 0 else float("nan") for name, v in chosen}


def to_results(
    store: CropStore, keypoints: np.ndarray, scores: np.ndarray, category: int = 1
) -> list[dict]:
    """Predictions as COCO results; areas are the inputs', which only NMS reads."""
    keypoints, scores = keypoints.astype(np.float64), scores.astype(np.float64)
    counted = scores > SCORE_THRESHOLD
    number = counted.sum(1)
    person = np.where(
        number > 0, (scores * counted).sum(1) / np.maximum(number, 1), 0.0
    )
    triplets = np.concatenate((keypoints, scores[..., None]), axis=-1)
    person *= store.box_score
    columns = zip(store.image_id, triplets, person, store.box_area, strict=True)
    return [
        {
            "image_id": int(image),
            "category_id": category,
            "keypoints": triplet.ravel().tolist(),
            "score": float(score),
            "area": float(area),
        }
        for image, triplet, score, area in columns
    ]


def suppress(
    results: list[dict], image_ids: np.ndarray, sigmas: np.ndarray
) -> list[dict]:
    """Drop poses that repeat a better one of the same image (MMPose's OKS-NMS)."""
    kept = []
    for image in np.unique(image_ids):
        rows = np.flatnonzero(image_ids == image)
        if len(rows) == 1:
            kept.append(results[rows[0]])
            continue
        poses = [
            {
                "keypoints": np.reshape(results[row]["keypoints"], (-1, 3)),
                "score": results[row]["score"],
                "area": results[row]["area"],
            }
            for row in rows
        ]
        chosen = oks_nms(poses, NMS_THRESHOLD, sigmas=sigmas)
        kept.extend(results[rows[index]] for index in chosen)
    return kept
