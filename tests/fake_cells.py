"""Plausible outputs of finished cells, for tests of what comes after evaluate."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from plugins.sizes import parse_size
from stages.files import hash_of

MARGIN = 8
PERSONS = 24
DATA_HASH = "000000000042"
METHODS = ("udp", "dark", "cal")
SIZES = ("64x48", "128x96", "32x24")
DECODERS = {
    "udp": ("udp", "argmax", "dark", "quadfit"),
    "dark": ("dark", "argmax", "udp", "quadfit"),
    "cal": ("cal", "argmax"),
}
# Figures of the order that small networks reach, so that pictures look as they will.
BASE_AP = {"32x24": 24.0, "64x48": 47.0, "128x96": 66.0, "256x192": 74.0}
GAIN = {"udp": 0.0, "dark": -1.5, "cal": 6.0, "argmax": -4.0, "quadfit": 0.4}
STANDING = np.array(
    [
        [0, -40], [3, -43], [-3, -43], [6, -41], [-6, -41], [12, -28], [-12, -28],
        [18, -12], [-17, -13], [22, 2], [-14, 0], [8, 4], [-8, 4], [9, 24], [-10, 23],
        [10, 44], [-12, 43],
    ],
    dtype=float,
)  # fmt: skip
"""COCO's 17 keypoints of a person 100 units high, around the centre."""


def make_cells(
    methods=METHODS, sizes=SIZES, seeds=(0,), data="synthetic", backbone="hrnet_micro"
) -> dict[str, dict]:
    """The ``cells`` of a params.yaml."""
    return {
        f"{data}-{size}-{backbone}-{method}-s{seed}": {
            "data": data, "store": f"{data}-{size}", "size": size, "upscale": "none",
            "backbone": backbone, "method": method, "schedule": "quick", "seed": seed,
            "train": {"size": size, "optimizer": {"lr": 0.001}, "seed": seed},
            "evaluate": {"boxes": "gt", "flip_test": True},
        }
        for size in sizes for method in methods for seed in seeds
    }  # fmt: skip


def write_params(root: Path, cells: dict[str, dict]) -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / "params.yaml").write_text(yaml.safe_dump({"cells": cells}, sort_keys=False))


def write_grid(root: Path, cells: dict[str, dict]) -> None:
    """params.yaml, and every cell finished: stores, histories, rows, predictions."""
    write_params(root, cells)
    for key, cell in cells.items():
        write_store(root, cell)
        write_metrics(root, key, metric_rows(key, cell))
        write_history(root, key, cell)
        write_predictions(root, key, cell)


def shrink_codec_report(patch) -> None:
    """Two codecs and two sizes: the whole report measures some 50."""
    from stages.compare.codec_report import report

    patch.setattr(report, "OURS", ("udp", "quadfit"))
    patch.setattr(report, "STOCK", ("udp",))
    patch.setattr(report, "SIZES", ("32x24", "64x48"))
    patch.setattr(report, "JOINTS", 100)


def metric_rows(key: str, cell: dict, **changes) -> pd.DataFrame:
    """metrics.csv of one cell: a row per decoder; ``changes`` overwrite columns."""
    width, height = parse_size(cell["size"])
    draw = _generator(key)
    rows = []
    for decoder in DECODERS.get(cell["method"], (cell["method"],)):
        own = decoder == cell["method"]
        gain = GAIN[cell["method"]] + (0 if own else min(GAIN[decoder], 0.4))
        ap = BASE_AP.get(cell["size"], 50.0) + gain * 48 / width + draw.normal(0, 0.4)
        names = ("data", "size", "upscale", "backbone", "method", "seed", "schedule")
        rows.append(
            {"key": key, **{name: cell[name] for name in names}}
            | {"decoder": decoder, "own_decoder": own, "boxes": "gt"}
            | {"AP": ap, "AP50": min(ap + 30, 96), "AP75": ap * 1.05, "APM": ap - 1}
            | {"APL": ap + 2, "AR": ap + 6, "PCK": min(ap + 22, 97)}
            | {"PCKh": float("nan"), "PCKh@0.1": float("nan")}
            | {"error_px": height * 0.012 * (100 - ap) / 25, "parameters": 771_345}
            | {"gmacs": 0.009 * width * height / 768, "persons_per_s": 9e5 / width}
            | {"network_s": PERSONS * width / 1e6, "decoder_s": PERSONS * width / 9e6}
            | {
                "git_revision": "1234567",
                "git_dirty": False,
                "versions": "torch 2.13.0",
            }
            | {"config_hash": hash_of(cell["train"]), "data_hash": DATA_HASH}
            | {"checkpoint_hash": "12e456789012", "host": "node", "device": "cpu"}
        )
    return pd.DataFrame(rows).assign(**changes)


def write_metrics(root: Path, key: str, rows: pd.DataFrame) -> None:
    folder = root / "results" / "cells" / key
    folder.mkdir(parents=True, exist_ok=True)
    rows.to_csv(folder / "metrics.csv", index=False)


def write_history(root: Path, key: str, cell: dict, epochs: int = 12) -> None:
    draw = _generator(key)
    epoch = np.arange(1, epochs + 1)
    pace = 5 - GAIN[cell["method"]] / 5
    fall = np.exp(-epoch / pace) + draw.normal(0, 0.01, epochs)
    height = parse_size(cell["size"])[1]
    folder = root / "runs" / key
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(
        {
            "epoch": epoch,
            "seconds": 2.0,
            "learning_rate": 1e-3,
            "loss": (0.02 if cell["method"] == "cal" else 0.004) * (0.3 + fall),
            "val_ap": 60 - 70 * fall,
            "val_pck": 85 - 60 * fall,
            "val_error": height * (0.04 + 0.15 * fall),
        }
    ).to_csv(folder / "history.csv", index=False)


def write_store(root: Path, cell: dict) -> None:
    """The val part of a crop store: figures of sticks on a soft ground."""
    folder = root / "data" / "stores" / cell["store"]
    if folder.exists():
        return
    (folder / "val").mkdir(parents=True)
    width, height = parse_size(cell["size"])
    manifest = {
        "input_size": [width, height],
        "margin": MARGIN,
        "oversample": 1,
        "data_hash": DATA_HASH,
        "splits": {"val": {"persons": PERSONS}},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    image, to_image = _persons(width, height)
    keypoints = np.einsum(
        "nkd,nde->nke", image - to_image[:, None, :, 2], _inverse_linear(to_image)
    )
    visible = np.full(keypoints.shape[:2], 2)
    visible[::3, 9] = 0
    np.save(folder / "val" / "crops.npy", _draw_crops(keypoints, width, height))
    np.savez(
        folder / "val" / "table.npz",
        annotation_id=np.arange(100, 100 + PERSONS),
        image_id=np.arange(PERSONS),
        keypoints=keypoints,
        visible=visible,
        area=np.full(PERSONS, 5000.0),
        bbox=np.tile([50.0, 50.0, 90.0, 120.0], (PERSONS, 1)),
        to_image=to_image,
    )


def write_predictions(root: Path, key: str, cell: dict) -> None:
    """predictions.npz: the true keypoints, the further off the smaller the input."""
    width, height = parse_size(cell["size"])
    image, _ = _persons(width, height)
    decoders = DECODERS.get(cell["method"], (cell["method"],))
    draw = _generator(key)
    spread = 120 * (100 - BASE_AP[cell["size"]] - GAIN[cell["method"]]) / 1000
    person = draw.uniform(0.3, 1.7, (PERSONS, 1, 1))
    off = draw.normal(0, spread, (len(decoders), *image.shape)) * person
    coarse = np.round(draw.normal(0, 0.6, image.shape) * person**2)
    coarse[::3, 9] = np.nan
    folder = root / "results" / "cells" / key
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(
        folder / "predictions.npz",
        annotation_id=np.arange(100, 100 + PERSONS),
        image_id=np.arange(PERSONS),
        decoders=np.array(decoders),
        keypoints=(image + off).astype(np.float32),
        scores=np.ones(off.shape[:3], np.float32),
        oks=np.exp(-np.linalg.norm(off, axis=-1).mean(-1) / 12),
        coarse_errors=coarse.astype(np.float32),
    )


def write_maps(root: Path, key: str, cell: dict, persons: int = 2) -> None:
    """maps.npz: Gaussians around the true cells; offsets of cal that lead there."""
    width, height = (side // 4 for side in parse_size(cell["size"]))
    draw = _generator(key)
    truth = draw.uniform(2, [width - 3, height - 3], (persons, 17, 2))
    y, x = np.mgrid[0:height, 0:width]
    offsets = truth[..., None, None] - np.stack([x, y])
    maps = {"heatmaps": np.exp(-(offsets**2).sum(2) / 2).astype(np.float16)}
    if cell["method"] == "cal":
        maps["offsets"] = offsets.astype(np.float32)
    np.savez(
        root / "results" / "cells" / key / "maps.npz",
        annotation_id=np.arange(100, 100 + persons),
        visible=np.full((persons, 17), 2),
        truth=truth,
        decoded=truth + draw.normal(0, 0.3, truth.shape),
        **maps,
    )


def _generator(key: str) -> np.random.Generator:
    return np.random.default_rng(list(key.encode()))


def _persons(width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (N, 17, 2) in image px, the same at every size, and crop-to-image."""
    draw = np.random.default_rng(7)
    centre = draw.uniform(120, 400, (PERSONS, 1, 2))
    pose = STANDING * 1.2 + draw.normal(0, 4, (PERSONS, 17, 2))
    scale = 160 / height
    corner = np.array([width / 2 + MARGIN, height / 2 + MARGIN])
    to_image = np.zeros((PERSONS, 2, 3))
    to_image[:, 0, 0] = to_image[:, 1, 1] = scale
    to_image[:, :, 2] = centre[:, 0] - scale * corner
    return centre + pose, to_image


def _inverse_linear(to_image: np.ndarray) -> np.ndarray:
    return np.linalg.inv(to_image[:, :, :2]).transpose(0, 2, 1)


def _draw_crops(keypoints: np.ndarray, width: int, height: int) -> np.ndarray:
    y, x = np.mgrid[0 : height + 2 * MARGIN, 0 : width + 2 * MARGIN]
    ground = 60 + 80 * x / x.max() + 40 * np.sin(y / height * 9)
    crops = np.repeat(ground[None, ..., None], PERSONS, axis=0)
    crops = crops * np.array([0.9, 1.0, 0.8])
    near = (x[..., None] - keypoints[:, None, None, :, 0]) ** 2
    near = near + (y[..., None] - keypoints[:, None, None, :, 1]) ** 2
    body = near.min(-1) < (height / 16) ** 2
    crops[body] = [190, 120, 90]
    return crops.clip(0, 255).astype(np.uint8)
