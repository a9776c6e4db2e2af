"""How well a network in training does on the validation persons."""

import numpy as np
import torch

from plugins.datasets.crop_store import CropStore
from plugins.inference import store_outputs
from plugins.metrics.coco import coco_metrics
from plugins.metrics.keypoints import correct_keypoints, distances, mean_labelled

BATCH = 128


def validate(model: torch.nn.Module, store: CropStore, truth: dict) -> dict[str, float]:
    """Figures of the own decoder in annotated boxes, without flip test.

    No random number is drawn and no weight or statistic of the network changes.

    Args:
        truth: of ``open_truth``, of the store's data.

    Returns:
        ``val_ap`` and ``val_pck`` in percent, ``val_error`` (mean) in input px.
    """
    keypoints, scores = [], []
    for _, outputs in store_outputs(model, store, BATCH, flip_test=False):
        for parts, part in zip(
            (keypoints, scores), model.head.codec.decode_batch(outputs), strict=True
        ):
            parts.append(part.cpu().numpy())
    predicted = np.concatenate(keypoints)
    placed = store.to_image_pixels(predicted)
    ap = coco_metrics(
        truth,
        store,
        # As evaluate writes and measures them.
        placed.astype(np.float32),
        np.concatenate(scores).astype(np.float32),
        store.keypoint_set,
    )["AP"]
    error = distances(predicted, store.input_keypoints)
    image = distances(placed, store.to_image_pixels(store.input_keypoints))
    correct = correct_keypoints(image, store.bbox)
    return {
        "val_ap": ap,
        "val_pck": 100 * mean_labelled(correct, store.visible),
        "val_error": mean_labelled(error, store.visible),
    }
