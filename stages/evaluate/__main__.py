"""``python -m stages.evaluate CELL``: measure a trained cell with all its decoders.

Writes metrics.csv (a row per decoder and kind of boxes), per_keypoint.csv, maps.npz,
predictions.npz and, of detected boxes, predictions_detections.npz.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from plugins.metrics.coco import COCO_STATS
from stages.evaluate.annotated import evaluate_persons, open_persons
from stages.evaluate.describe import describe
from stages.evaluate.detections import evaluate_boxes, open_boxes
from stages.evaluate.maps import save_maps
from stages.evaluate.predict import fitting_decoders, load_model
from stages.files import StageError, load_params, new_folder, run_stage
from stages.memory import keep_freed_memory


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
    store, truth = open_persons(key, cell)
    boxes = open_boxes(key, cell, store)
    model = load_model(cell.get("trained", key), cell, checkpoint, store)
    own = cell["train"]["method"]["codec"]["name"]
    decoders = fitting_decoders(own, model.head.codec)
    rows, keypoints, found = evaluate_persons(model, store, truth, decoders, settings)
    predictions = {"predictions.npz": found}
    if boxes is not None:
        detected, found = evaluate_boxes(model, boxes, decoders, cell)
        rows += detected
        predictions["predictions_detections.npz"] = found
    common = describe(key, cell, store, model, checkpoint)
    frame = pd.DataFrame(
        common | {"own_decoder": row["decoder"] == own} | row for row in rows
    )
    with new_folder(folder) as aside:
        frame.to_csv(aside / "metrics.csv", index=False)
        keypoints.to_csv(aside / "per_keypoint.csv", index=False)
        save_maps(aside / "maps.npz", model, store, settings["flip_test"])
        for name, columns in predictions.items():
            np.savez_compressed(aside / name, **columns)
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
    keep_freed_memory()
    cell = load_params("transfers" if arguments.transfer else "cells", key)
    checkpoint = Path("runs") / cell.get("trained", key) / "checkpoint.pth"
    frame = evaluate(key, cell, checkpoint, Path("results/cells") / key)
    columns = ["boxes", "decoder", *COCO_STATS, "PCK", "error_px"]
    print(frame[columns].to_string(index=False, float_format="{:.2f}".format))


if __name__ == "__main__":
    run_stage(main)
