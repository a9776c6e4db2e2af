"""A few persons' heatmaps and offsets as they came out, for pictures."""

from pathlib import Path

import numpy as np
import torch
from mmpose.models.pose_estimators import TopdownPoseEstimator

from plugins.codecs.common.heatmap import HeatmapCodec
from plugins.datasets.crop_store import CropStore
from plugins.inference import predict_outputs

PERSONS = 4
WELL_LABELLED = 0.75
"""Share of the keypoints that a shown person has labelled at least, where any has."""


def save_maps(
    path: Path, model: TopdownPoseEstimator, store: CropStore, flip_test: bool
) -> None:
    """Write the maps of a few persons; nothing where the network gives none.

    ``annotation_id (P,)``, ``visible (P, K)``, ``heatmaps (P, K, h, w)``, and in cells
    ``truth`` and ``decoded (P, K, 2)`` and, where there are any, ``offsets (P, K, 2, h,
    w)``.
    """
    rows = choose_rows(store.visible)
    images = np.concatenate([store.inputs(slice(row, row + 1)) for row in rows])
    outputs = predict_outputs(model, images, flip_test)
    codec = model.head.codec
    if "heatmaps" not in outputs or not isinstance(codec, HeatmapCodec):
        return
    decoded, _ = codec.decode_batch(outputs)
    truth = torch.from_numpy(store.input_keypoints[rows]).to(decoded)
    maps = {"heatmaps": outputs["heatmaps"]}
    if "offsets" in outputs:
        maps["offsets"] = outputs["offsets"] * codec.unit
    np.savez_compressed(
        path,
        annotation_id=store.annotation_id[rows],
        visible=store.visible[rows],
        truth=codec.to_cells(truth).cpu().numpy(),
        decoded=codec.to_cells(decoded).cpu().numpy(),
        **{name: values.half().cpu().numpy() for name, values in maps.items()},
    )


def choose_rows(visible: np.ndarray) -> np.ndarray:
    """Persons spread evenly over the well labelled, the same at every size.

    Args:
        visible: ``(N, K)``, COCO's 0, 1, 2.
    """
    labelled = (visible > 0).mean(1)
    enough = min(WELL_LABELLED, labelled.max(initial=0))
    rows = np.flatnonzero(labelled >= enough)
    places = (np.arange(PERSONS) + 0.5) * len(rows) / PERSONS
    return np.unique(rows[places.astype(int)]) if len(rows) else rows
