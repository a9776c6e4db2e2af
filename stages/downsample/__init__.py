"""Stage downsample: persons become crops of one size, packed."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
import PIL
import simplejpeg

from plugins import sizes
from plugins.datasets import crop_store, prepared
from plugins.datasets.crop_store import CropGeometry
from plugins.datasets.prepared import Entries
from stages.downsample.camera import make_geometry
from stages.downsample.crops import Job, write_all_crops
from stages.downsample.table import Table, find_order
from stages.downsample.unfinished import unfinished_store
from stages.downsample.workers import start_workers
from stages.files import StageError, hash_of, hash_of_file, write_json

__all__ = ["downsample", "make_geometry"]

SPLITS = {
    "gt": {"train": "train", "val": "val"},
    "detections": {"val": "val_detections"},
}
"""By kind of boxes: splits of a store, and of the dataset that they are made from."""
CODE = (crop_store.__file__, prepared.__file__, sizes.__file__)
"""What decides a store's bytes, besides this package."""


def downsample(
    settings: dict, folder: Path, jobs: int | None = None, backend: str = "loky"
) -> dict:
    """Write the crop store ``folder``, whole or not at all; returns its manifest.

    A run that was killed goes on where it stopped.

    Args:
        settings: an item of ``stores`` in params.yaml.
        folder: of the store.
        jobs: workers; one per core by default.
        backend: of joblib, see ``start_workers``.

    Raises:
        StageError: the dataset is missing, changed, or has a photo that cannot be read;
            another process is making this store.
    """
    geometry = make_geometry(settings)
    manifest = dict(settings)
    manifest |= describe(geometry, settings.get("as_input", False))
    manifest["splits"] = {}
    splits = SPLITS[settings.get("boxes", "gt")]
    with contextlib.ExitStack() as stack:
        entries = {
            split: stack.enter_context(open_entries(settings["data"], source))
            for split, source in splits.items()
        }
        manifest["data_hash"] = entries["val"].data_hash
        manifest["keypoint_set"] = entries["val"].keypoint_set
        hashes = [manifest["data_hash"], *(e.sha256 for e in entries.values())]
        key = run_hash(settings, hashes)
        work = stack.enter_context(unfinished_store(Path(folder), key))
        run = stack.enter_context(start_workers(backend, jobs))
        for split in splits:
            persons = write_split(entries[split], work, split, settings, geometry, run)
            manifest["splits"][split] = {"persons": persons}
        write_json(work / "store" / "manifest.json", manifest)
    return manifest


def describe(geometry: CropGeometry, as_input: bool) -> dict:
    """The manifest's entries of a geometry.

    Args:
        as_input: whether the network reads every crop pixel, as its input; else their
            means over each input pixel.
    """
    step = geometry.oversample if as_input else 1
    return {
        "input_size": [side * step for side in geometry.input_size],
        "margin": geometry.margin * step,
        "oversample": geometry.oversample // step,
    }


def write_split(
    entries: Entries,
    work: Path,
    split: str,
    settings: dict,
    geometry: CropGeometry,
    run: Callable,
) -> int:
    """Write one split's table and crops; returns the number of persons.

    The table is written anew by a run that goes on: it takes seconds.
    """
    folder, aside = work / "store" / split, work / split
    folder.mkdir(exist_ok=True)
    aside.mkdir(exist_ok=True)
    try:
        order = find_order(entries, aside)
    except ValueError as error:
        raise StageError(str(error)) from None
    crops = (folder / "crops.npy").absolute()
    job = Job(crops, geometry.crop_size, settings["reduced_decode"])
    persons = len(order.persons)
    with Table(aside, persons, geometry, settings) as table:
        write_all_crops(entries, order, table, job, aside / "done.npy", run)
        table.pack(folder / "table.npz")
    return persons


def open_entries(data: str, split: str) -> Entries:
    """The prepared annotations of a split.

    Raises:
        StageError: they are missing or changed.
    """
    try:
        return Entries(Path("data") / data, split)
    except ValueError as error:
        raise StageError(str(error)) from None


def run_hash(settings: dict, data_hashes: list[str]) -> str:
    """Hash of settings, data and code: what an unfinished store may go on with."""
    code = [*Path(__file__).parent.glob("*.py"), *CODE]
    hashes = [hash_of_file(path) for path in sorted(map(Path, code))]
    packages = (np, PIL, simplejpeg, numba)
    versions = [package.__version__ for package in packages]
    return hash_of([settings, data_hashes, hashes, versions])
