"""Make an upscaled crop store, split by split, batch by batch."""

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from plugins.datasets.crop_store import CropStore
from plugins.sizes import parse_size
from stages.files import StageError, new_folder, write_json
from stages.upscale.upscalers import Upscaler, build_upscaler, measure_ms

TIMED = 256
"""Persons whose upscaling is timed."""


def upscale(settings: dict, folder: Path, cost: Path) -> dict:
    """Write the store ``folder`` and what upscaling costs; returns the latter.

    Args:
        settings: an item of ``upscaled`` in params.yaml.
        folder: of the store, whole or not at all.
        cost: JSON file: the upscaler, and GMACs and milliseconds per person for what
            the network sees of it, without the context around.

    Raises:
        StageError: the store or the weights cannot be used, or the disk is full.
    """
    source = Path("data/stores") / settings["store"]
    stores = open_stores(source)
    size = stores["val"].input_size
    upscaler = build_upscaler(settings, parse_size(settings["to"])[0] // size[0])
    manifest = describe(settings, stores["val"], upscaler)
    with new_folder(folder) as aside:
        for split, store in stores.items():
            (aside / split).mkdir()
            write_table(source / split, aside / split, upscaler.factor)
            batch_size = settings["batch_size"]
            write_crops(store, upscaler, batch_size, aside / split / "crops.npy")
        write_json(aside / "manifest.json", manifest)
    images = torch.from_numpy(stores["val"].inputs(slice(TIMED)))
    spent = upscaler.description | {
        "gmacs": upscaler.count(size),
        "ms_per_person": measure_ms(upscaler, images, settings["batch_size"]),
        "device": str(upscaler.device),
    }
    write_json(cost, spent)
    return spent


def open_stores(folder: Path) -> dict[str, CropStore]:
    """The splits of a crop store.

    Raises:
        StageError: it cannot be read, or has finer pixels than the network sees.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        stores = {split: CropStore(folder / split) for split in manifest["splits"]}
    except (OSError, KeyError, ValueError) as error:
        raise StageError(
            f"{folder}: not a readable crop store ({error}); make it again with python "
            f"-m stages.downsample {folder.name}"
        ) from None
    if any(store.geometry.oversample != 1 for store in stores.values()):
        raise StageError(f"{folder}: expected store.oversample=1")
    return stores


def describe(settings: dict, source: CropStore, upscaler: Upscaler) -> dict:
    """The manifest: the source's, but for the geometry and how it was made."""
    factor = upscaler.factor
    return source.manifest | {
        "input_size": [side * factor for side in source.input_size],
        "margin": source.margin * factor,
        "upscale": settings | upscaler.description,
    }


def write_table(source: Path, folder: Path, factor: int) -> None:
    """Write a split's table; the same table is the same bytes, without the time."""
    with np.load(source / "table.npz", allow_pickle=False) as table:
        columns = upscale_columns(dict(table), factor)
    with zipfile.ZipFile(folder / "table.npz", "w") as archive:
        for name, column in columns.items():
            entry = zipfile.ZipInfo(f"{name}.npy")
            with archive.open(entry, "w", force_zip64=True) as packed:
                np.lib.format.write_array(packed, column, allow_pickle=False)


def upscale_columns(table: dict[str, np.ndarray], factor: int) -> dict[str, np.ndarray]:
    """A store's table in the pixels of the upscaled crops.

    Args:
        table: as ``CropStore`` describes its columns; keypoints in crop pixels.
    """
    shift = (factor - 1) / 2
    linear, origin = table["to_image"][:, :, :2] / factor, table["to_image"][:, :, 2:]
    to_image = np.concatenate(
        (linear, origin - shift * linear.sum(-1, keepdims=True)), axis=-1
    )
    labelled = table["visible"][..., None] > 0
    keypoints = np.where(labelled, factor * table["keypoints"] + shift, 0.0)
    return table | {"keypoints": keypoints, "to_image": to_image}


def write_crops(
    store: CropStore, upscaler: Upscaler, batch_size: int, path: Path
) -> None:
    """Write the upscaled crops of a split; memory is that of a batch."""
    width, height = (side * upscaler.factor for side in store.geometry.crop_size)
    header = {"descr": "|u1", "fortran_order": False}
    header["shape"] = (len(store), height, width, 3)
    quiet = "CI" in os.environ or None
    bar = tqdm(None, path.parent.name, len(store), unit="person", disable=quiet)
    # Not through a memory map, where a full disk would be a bus error.
    with bar, open(path, "wb") as handle:
        np.lib.format.write_array_header_1_0(handle, header)
        for start in range(0, len(store), batch_size):
            crops = torch.from_numpy(np.array(store.crops[start : start + batch_size]))
            handle.write(upscaler(crops).numpy())
            bar.update(len(crops))
