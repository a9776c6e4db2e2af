"""Predict the persons of a crop store in large batches."""

from collections.abc import Iterator

import numpy as np
import torch
from mmpose.models.pose_estimators import TopdownPoseEstimator

from plugins.codecs.common.codec import Outputs
from plugins.datasets.crop_store import CropStore

CPU_PIXELS = 128 * 64 * 48
"""Input pixels that a CPU takes at once; more need more memory and bring little.

HRNet-micro on two cores with freed memory kept (stages/memory.py), persons/s by batch:
at 64x48 2,700 with 64, 3,100 with 128 and 256, 3,500 with 512; at 128x96 760 with 32,
815 with 128; at 256x192 180 with 8, 184 with 32, 190 with 128.
"""


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
    """Rows of the store and their head outputs, batch by batch; sets eval mode.

    Args:
        batch_size: persons at most; a CPU takes fewer where they are large.
    """
    model.eval()
    if next(model.parameters()).device.type == "cpu":
        width, height = store.input_size
        batch_size = min(batch_size, max(1, CPU_PIXELS // (width * height)))
    for start in range(0, len(store), batch_size):
        rows = slice(start, min(start + batch_size, len(store)))
        yield rows, predict_outputs(model, store.inputs(rows), flip_test)
