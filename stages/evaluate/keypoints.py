"""Errors of each person's keypoints, without any matching."""

import numpy as np
import pandas as pd

from plugins.codecs.common.heatmap import HeatmapCodec
from plugins.datasets.crop_store import CropStore
from plugins.datasets.keypoint_sets import KeypointSet
from plugins.metrics.keypoints import (
    PCKH,
    correct_keypoints,
    distances,
    object_keypoint_similarity,
)


def compare_keypoints(
    store: CropStore, keypoints: np.ndarray, keypoint_set: KeypointSet
) -> dict[str, np.ndarray]:
    """Per person and keypoint ``(N, K)``: errors in px, PCK hit, OKS part."""
    truth = store.to_image_pixels(store.input_keypoints)
    image_px = distances(keypoints, truth)
    # Crop pixels are finer than input pixels by the store's oversampling.
    pixel = store.to_image[:, [0, 1], [0, 1]] * store.geometry.oversample
    input_px = np.linalg.norm((keypoints - truth) / pixel[:, None], axis=-1)
    return {
        "image_px": image_px,
        "input_px": input_px,
        "correct": correct_keypoints(image_px, store.bbox),
        "oks": object_keypoint_similarity(image_px, store.area, keypoint_set.sigmas),
    }


def mpii_pckh(coco: dict, store: CropStore, image_px: np.ndarray) -> dict[str, float]:
    """PCKh@0.5 and @0.1 in percent, as MPII defines it; NaN on other datasets.

    The share of keypoints within so many head sizes, over all persons and keypoints but
    pelvis and thorax.

    Args:
        coco: annotations of the persons, with a ``head_size`` in image px.
        image_px: ``(N, K)`` errors in image px.
    """
    sizes = {a["id"]: a.get("head_size", np.nan) for a in coco["annotations"]}
    head = np.array([sizes[person] for person in store.annotation_id.tolist()])
    counted = list(store.keypoint_set.pckh)
    labelled = store.visible[:, counted] > 0
    if np.isnan(head).any() or not labelled.any():
        return dict.fromkeys(PCKH, float("nan"))
    shares = (image_px[:, counted] / head[:, None])[labelled]
    return {name: 100 * float((shares <= limit).mean()) for name, limit in PCKH.items()}


def coarse_errors(
    store: CropStore, peaks: np.ndarray, codec: HeatmapCodec
) -> np.ndarray:
    """From the cell nearest to the keypoint to the largest one, ``(N, K, 2)`` in cells.

    NaN where the keypoint is not labelled. A keypoint outside the map has the border
    cell nearest to it.

    Args:
        peaks: ``(N, K, 2)`` cells.
        codec: of the network that gave the maps.
    """
    cells = np.floor(store.input_keypoints / codec.scale.numpy() + 0.5)
    truth = cells.clip(0, np.array(codec.heatmap_size) - 1)
    labelled = (store.visible > 0)[..., None]
    return np.where(labelled, peaks - truth, np.nan).astype(np.float32)


def person_oks(similarity: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """OKS ``(N,)``: mean similarity of the labelled keypoints."""
    labelled = visible > 0
    return (similarity * labelled).sum(1) / labelled.sum(1)


def per_keypoint(
    decoder: str, detail: dict, store: CropStore, keypoint_set: KeypointSet
) -> pd.DataFrame:
    """One row per keypoint: count, PCK, mean error and mean similarity."""
    labelled = store.visible > 0
    count = labelled.sum(0)

    def mean(values: np.ndarray) -> np.ndarray:
        return (values * labelled).sum(0) / np.maximum(count, 1)

    return pd.DataFrame(
        {
            "decoder": decoder,
            "keypoint": keypoint_set.names,
            "count": count,
            "PCK": 100 * mean(detail["correct"]),
            "error_px": mean(detail["input_px"]),
            "similarity": mean(detail["oks"]),
        }
    )
