"""A trained cell on the boxes of a detector, scored as HRNet's evaluation does."""

from pathlib import Path

import numpy as np
from mmpose.models.pose_estimators import TopdownPoseEstimator

from plugins.codecs.common.codec import Codec
from plugins.datasets.crop_store import CropStore
from plugins.datasets.prepared import open_truth
from plugins.metrics.coco import coco_metrics
from stages.evaluate.predict import predict, speeds
from stages.files import StageError


def open_boxes(key: str, cell: dict, annotated: CropStore) -> CropStore | None:
    """The crops of the detected boxes, where the cell is to be evaluated on them.

    Args:
        annotated: the store of the same persons in annotated boxes.

    Raises:
        StageError: the store is missing, or of other data.
    """
    if cell["evaluate"]["boxes"] != "detections":
        return None
    try:
        store = CropStore(Path(cell["detections"]) / "val")
    except ValueError as error:
        raise StageError(f"{key}: {error}") from None
    for name in ("data_hash", "geometry"):
        found, expected = getattr(store, name), getattr(annotated, name)
        if found != expected:
            raise StageError(
                f"{cell['detections']}: {name} is {found}, {expected} expected, as of "
                f"{cell['store']}: run python -m stages.downsample "
                f"{Path(cell['detections']).name}"
            )
    return store


def evaluate_boxes(
    model: TopdownPoseEstimator,
    store: CropStore,
    decoders: dict[str, Codec],
    cell: dict,
) -> tuple[list[dict], dict[str, np.ndarray]]:
    """Rows of metrics.csv, one per decoder, and the content of the predictions' file.

    A detected box is nobody's until its pose is matched, so that errors per person,
    PCK and error_px are undefined.

    Raises:
        ValueError: the prepared data is missing or changed.
    """
    settings = cell["evaluate"]
    truth = open_truth(Path("data") / cell["data"], "detections")
    predictions, seconds, _ = predict(model, store, decoders, settings)
    rows = []
    for name, (keypoints, scores) in predictions.items():
        row = {"decoder": name, "boxes": "detections"}
        row |= coco_metrics(
            truth,
            store,
            keypoints,
            scores,
            store.keypoint_set,
            settings["box_threshold"],
        )
        rows.append(row | speeds(seconds, name, len(store)))
    found = {
        "image_id": store.image_id,
        "bbox": store.bbox,
        "box_score": store.box_score,
        "decoders": np.array(list(predictions)),
        "keypoints": np.stack([keypoints for keypoints, _ in predictions.values()]),
        "scores": np.stack([scores for _, scores in predictions.values()]),
    }
    return rows, found
