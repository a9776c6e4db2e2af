"""``python -m stages.evaluate CELL``: measure a trained cell with all its decoders.

Writes metrics.csv (a row per decoder and kind of boxes), per_keypoint.csv, maps.npz,
predictions.npz and, of detected boxes, predictions_detections.npz.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from plugins.datasets.crop_store import CropStore
from plugins.datasets.prepared import open_truth
from plugins.metrics.coco import COCO_STATS, coco_metrics
from plugins.metrics.keypoints import mean_labelled
from stages.evaluate.describe import describe
from stages.evaluate.detections import evaluate_boxes, open_boxes
from stages.evaluate.keypoints import (
    coarse_errors,
    compare_keypoints,
    mpii_pckh,
    per_keypoint,
    person_oks,
)
from stages.evaluate.maps import save_maps
from stages.evaluate.predict import fitting_decoders, load_model, predict, speeds
from stages.files import StageError, load_params, new_folder, run_stage


def evaluate(key: str, cell: dict, checkpoint: Path, folder: Path) -> pd.DataFrame:
    """Evaluate a trained cell and write its results; returns the rows of metrics.csv.

    Args:
        key: of the cell.
        cell: its item of params.yaml.
        checkpoint: written by train.
        folder: for the results, whole or not at all.

    Raises:
        StageError: the checkpoint is missing, broken, or of other settings or data.
    """
    settings = cell["evaluate"]
    if settings["boxes"] not in ("gt", "detections"):
        raise StageError(
            f"{key}: evaluate.boxes={settings['boxes']}: expected gt or detections"
        )
    try:
        store = CropStore(Path("data/stores") / cell["store"] / "val")
        truth = open_truth(Path("data") / cell["data"], data_hash=store.data_hash)
    except ValueError as error:
        raise StageError(f"{key}: {error}") from None
    boxes = open_boxes(key, cell, store)
    model = load_model(cell.get("trained", key), cell, checkpoint, store)
    own = cell["train"]["method"]["codec"]["name"]
    decoders = fitting_decoders(own, model.head.codec)
    predictions, seconds, peaks = predict(model, store, decoders, settings)

    common = describe(key, cell, store, model, checkpoint)
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
    coarse = {}
    if peaks is not None:
        coarse["coarse_errors"] = coarse_errors(store, peaks, model.head.codec)
    if boxes is not None:
        detected, found = evaluate_boxes(model, boxes, decoders, cell)
        rows += detected
    with new_folder(folder) as aside:
        frame = pd.DataFrame(
            common | {"own_decoder": row["decoder"] == own} | row for row in rows
        )
        frame.to_csv(aside / "metrics.csv", index=False)
        pd.concat(tables).to_csv(aside / "per_keypoint.csv", index=False)
        save_maps(aside / "maps.npz", model, store, settings["flip_test"])
        np.savez_compressed(
            aside / "predictions.npz",
            annotation_id=store.annotation_id,
            image_id=store.image_id,
            decoders=np.array(list(predictions)),
            keypoints=np.stack([k for k, _ in predictions.values()]),
            scores=np.stack([s for _, s in predictions.values()]),
            oks=np.stack(similarity),
            **coarse,
        )
        if boxes is not None:
            np.savez_compressed(aside / "predictions_detections.npz", **found)
    return frame


def main() -> None:
    """Evaluate one cell into results/cells/CELL."""
    parser = argparse.ArgumentParser(prog="stages.evaluate", description=__doc__)
    parser.add_argument("cell", help="key of params.yaml under cells")
    parser.add_argument(
        "--transfer",
        action="store_true",
        help="under transfers: a trained cell on persons upscaled in another way",
    )
    arguments = parser.parse_args()
    key = arguments.cell
    cell = load_params("transfers" if arguments.transfer else "cells", key)
    checkpoint = Path("runs") / cell.get("trained", key) / "checkpoint.pth"
    frame = evaluate(key, cell, checkpoint, Path("results/cells") / key)
    columns = ["boxes", "decoder", *COCO_STATS, "PCK", "error_px"]
    print(frame[columns].to_string(index=False, float_format="{:.2f}".format))


if __name__ == "__main__":
    run_stage(main)
