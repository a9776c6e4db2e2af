"""Evaluated cells of real annotations and crops, with noise in place of a network."""

from pathlib import Path

import numpy as np

from plugins.datasets.crop_store import CropStore
from plugins.datasets.prepared import open_split
from plugins.metrics.coco import coco_metrics
from plugins.metrics.keypoints import mean_labelled
from stages.evaluate.keypoints import compare_keypoints, mpii_pckh, person_oks
from tests.fake_cells import make_cells, metric_rows, write_metrics, write_params


def write_work(source: Path, root: Path) -> Path:
    """Two methods with two seeds each, of ``source``'s data/tiny; gives ``root``."""
    cells = make_cells(methods=("udp", "cal"), sizes=("32x24",), seeds=(0, 1))
    (root / "data").symlink_to(source / "data")
    for cell in cells.values():
        cell |= {"data": "tiny", "store": "tiny-32x24"}
    write_params(root, cells)
    store = CropStore(source / "data/stores/tiny-32x24/val")
    coco = open_split(source / "data/tiny", "val").coco
    for key, cell in cells.items():
        write_evaluated(root, key, cell, store, coco)
    return root


def write_evaluated(root: Path, key: str, cell: dict, store, coco: dict) -> None:
    """metrics.csv and predictions.npz as evaluate writes them, with noise for poses."""
    draw = np.random.default_rng(list(key.encode()))
    truth = store.to_image_pixels(store.input_keypoints)
    rows, poses, scores, similarity = metric_rows(key, cell), [], [], []
    for n in range(len(rows)):
        points = truth + draw.normal(0, 0.3 + n, truth.shape)
        points = points.astype(np.float32).astype(float)
        score = draw.random(truth.shape[:2]).astype(np.float32)
        detail = compare_keypoints(store, points, store.keypoint_set)
        found = coco_metrics(coco, store, points, score, store.keypoint_set)
        found |= mpii_pckh(coco, store, detail["image_px"])
        found["PCK"] = 100 * mean_labelled(detail["correct"], store.visible)
        found["error_px"] = mean_labelled(detail["input_px"], store.visible)
        rows.loc[n, list(found)] = list(found.values())
        poses.append(points)
        scores.append(score)
        similarity.append(person_oks(detail["oks"], store.visible))
    write_metrics(root, key, rows.assign(data_hash=store.data_hash))
    np.savez(
        root / "results" / "cells" / key / "predictions.npz",
        annotation_id=store.annotation_id,
        image_id=store.image_id,
        decoders=rows["decoder"].to_numpy(str),
        keypoints=np.stack(poses).astype(np.float32),
        scores=np.stack(scores),
        oks=np.stack(similarity),
    )
