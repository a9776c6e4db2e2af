"""A trained cell in annotated boxes, where every prediction belongs to one person."""

from pathlib import Path

import numpy as np
import pandas as pd
from mmpose.models.pose_estimators import TopdownPoseEstimator

from plugins.codecs.common.codec import Codec
from plugins.datasets.crop_store import CropStore
from plugins.datasets.prepared import open_truth
from plugins.metrics.coco import coco_metrics
from plugins.metrics.keypoints import mean_labelled
from stages.evaluate.keypoints import (
    coarse_errors,
    compare_keypoints,
    mpii_pckh,
    per_keypoint,
    person_oks,
)
from stages.evaluate.predict import predict, speeds
from stages.files import StageError


def open_persons(key: str, cell: dict) -> tuple[CropStore, dict]:
    """The validation persons' crops, and what COCO's evaluation compares with.

    Raises:
        StageError: one of them is missing, or they are not of the same data.
    """
    try:
        store = CropStore(Path("data/stores") / cell["store"] / "val")
        data = Path("data") / cell["data"]
        return store, open_truth(data, data_hash=store.data_hash)
    except ValueError as error:
        raise StageError(f"{key}: {error}") from None


def evaluate_persons(
    model: TopdownPoseEstimator,
    store: CropStore,
    truth: dict,
    decoders: dict[str, Codec],
    settings: dict,
) -> tuple[list[dict], pd.DataFrame, dict[str, np.ndarray]]:
    """Measure every decoder.

    Args:
        store, truth: of ``open_persons``.
        settings: the cell's, of evaluate.

    Returns:
        Rows of metrics.csv, one per decoder; per_keypoint.csv; the content of
        predictions.npz.
    """
    predictions, seconds, peaks = predict(model, store, decoders, settings)
    rows, tables, similarity = [], [], []
    for name, (keypoints, scores) in predictions.items():
        detail = compare_keypoints(store, keypoints, store.keypoint_set)
        row = {"decoder": name, "boxes": "gt"}
        row |= coco_metrics(truth, store, keypoints, scores, store.keypoint_set)
        row |= mpii_pckh(truth, store, detail["image_px"])
        row["PCK"] = 100 * mean_labelled(detail["correct"], store.visible)
        row["error_px"] = mean_labelled(detail["input_px"], store.visible)
        rows.append(row | speeds(seconds, name, len(store)))
        tables.append(per_keypoint(name, detail, store, store.keypoint_set))
        similarity.append(person_oks(detail["oks"], store.visible))
    found = {
        "annotation_id": store.annotation_id,
        "image_id": store.image_id,
        "decoders": np.array(list(predictions)),
        "keypoints": np.stack([keypoints for keypoints, _ in predictions.values()]),
        "scores": np.stack([scores for _, scores in predictions.values()]),
        "oks": np.stack(similarity),
    }
    if peaks is not None:
        found["coarse_errors"] = coarse_errors(store, peaks, model.head.codec)
    return rows, pd.concat(tables), found
