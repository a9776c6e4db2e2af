"""Predict the persons of a crop store in large batches."""

from collections.abc import Iterator

import numpy as np
import torch
from mmpose.models.pose_estimators import TopdownPoseEstimator

from plugins.codecs.common.codec import Outputs
from plugins.datasets.crop_store import CropStore


@torch.inference_mode()
def predict_outputs(
    model: TopdownPoseEstimator, images: np.ndarray, flip_test: bool
) -> Outputs:
    """Head outputs of uint8 ``images (B, h, w, 3)``, averaged with the mirrored."""
    device = next(model.parameters()).device
    pixels = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float()
    inputs = model.data_preprocessor.normalise(pixels)
    outputs = model(inputs, None, mode="tensor")
    if not flip_test:
        return outputs
    flipped = model(inputs.flip(-1), None, mode="tensor")
    mirrored = model.data_preprocessor.keypoint_set.flip_indices
    flipped = model.head.codec.mirror(flipped, mirrored)
    return {name: (values + flipped[name]) / 2 for name, values in outputs.items()}


def store_outputs(
    model: TopdownPoseEstimator, store: CropStore, batch_size: int, flip_test: bool
) -> Iterator[tuple[slice, Outputs]]:
    """Rows of the store and their head outputs, batch by batch; sets eval mode."""
    model.eval()
    for start in range(0, len(store), batch_size):
        rows = slice(start, min(start + batch_size, len(store)))
        yield rows, predict_outputs(model, store.inputs(rows), flip_test)
