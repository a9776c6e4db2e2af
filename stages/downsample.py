"""``python -m stages.downsample STORE``: persons become crops of one size, packed.

The low-resolution camera: a person's box, padded and brought to the aspect 3:4, is
mapped to exactly the input's pixels by an area filter, with context around it for
rotation and scaling. Unit lengths (UDP, arXiv 1911.07524): the box spans the centres of
the first and last pixel.
"""

import argparse
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from PIL import Image
from tqdm import tqdm

from plugins.datasets.crop_store import TABLE, CropGeometry
from plugins.datasets.prepared import PreparedSplit, open_split
from plugins.sizes import parse_size
from stages.files import StageError, load_params, new_folder, run_stage, write_json

SPLITS = ("train", "val")
ASPECT = 3 / 4
"""Width of a person's box relative to its height."""
PHOTOS_PER_TASK = 64


@dataclass(frozen=True)
class Person:
    """One annotated person: where the crop's row is, and the box to cut."""

    row: int
    bbox: tuple[float, float, float, float]


def downsample(settings: dict, folder: Path, jobs: int | None = None) -> dict:
    """Write the crop store ``folder``, whole or not at all; returns its manifest.

    Args:
        settings: an item of ``stores`` in params.yaml.
        folder: of the store.
        jobs: worker processes; one per core by default.

    Raises:
        StageError: the dataset is missing, changed, or has a photo that cannot be read.
    """
    geometry = make_geometry(settings)
    manifest = dict(settings)
    manifest |= {"input_size": geometry.input_size, "margin": geometry.margin}
    manifest["splits"] = {}
    with new_folder(folder) as aside:
        for split in SPLITS:
            try:
                prepared = open_split(Path("data") / settings["data"], split)
            except ValueError as error:
                raise StageError(str(error)) from None
            manifest["data_hash"] = prepared.data_hash
            persons = write_split(
                prepared, aside / split, geometry, settings["padding"], jobs
            )
            manifest["splits"][split] = {"persons": persons}
        write_json(aside / "manifest.json", manifest)
    return manifest


def make_geometry(settings: dict) -> CropGeometry:
    """Geometry of a store's crops; context is a share of the input's height."""
    try:
        input_size = parse_size(settings["size"])
    except ValueError as error:
        raise StageError(str(error)) from None
    margin = round(settings["context"] * input_size[1])
    return CropGeometry(input_size, margin, settings["oversample"])


def write_split(
    prepared: PreparedSplit,
    folder: Path,
    geometry: CropGeometry,
    padding: float,
    jobs: int | None,
) -> int:
    """Write one split's table and crops; returns the number of persons.

    The workers write into the memory map, so memory does not grow with the persons.
    """
    annotations = [
        annotation
        for annotation in prepared.coco["annotations"]
        if not annotation.get("iscrowd") and max(annotation["keypoints"][2::3]) > 0
    ]
    if not annotations:
        raise StageError(f"{prepared.images_root}: no person with a labelled keypoint")
    # Persons of one photo stand together, so that each photo is decoded once.
    annotations.sort(key=lambda annotation: (annotation["image_id"], annotation["id"]))
    folder.mkdir()
    table = make_table(annotations, geometry, padding)
    np.savez(folder / "table.npz", **table)
    width, height = geometry.crop_size
    crops = np.lib.format.open_memmap(
        folder / "crops.npy",
        mode="w+",
        dtype=np.uint8,
        shape=(len(annotations), height, width, 3),
    )
    photos = list(_photos(prepared, annotations))
    tasks = [
        delayed(write_crops)(folder / "crops.npy", task, geometry, padding)
        for task in _chunks(photos, PHOTOS_PER_TASK)
    ]
    run = Parallel(n_jobs=jobs or os.cpu_count(), return_as="generator_unordered")
    quiet = "CI" in os.environ or None
    for _ in tqdm(run(tasks), folder.name, len(tasks), unit="task", disable=quiet):
        pass
    crops.flush()
    return len(annotations)


def make_table(
    annotations: list[dict], geometry: CropGeometry, padding: float
) -> dict[str, np.ndarray]:
    """Columns of the store's table; keypoints in crop pixels."""
    bbox = np.array([a["bbox"] for a in annotations], dtype=np.float64)
    labels = np.array([a["keypoints"] for a in annotations], dtype=np.float64)
    labels = labels.reshape(len(annotations), -1, 3)
    to_image = crop_to_image(bbox, geometry, padding)
    scale, shift = to_image[:, [0, 1], [0, 1]], to_image[:, :, 2]
    visible = labels[..., 2].astype(np.uint8)
    points = (labels[..., :2] - shift[:, None]) / scale[:, None]
    columns = {
        "annotation_id": np.array([a["id"] for a in annotations], dtype=np.int64),
        "image_id": np.array([a["image_id"] for a in annotations], dtype=np.int64),
        "keypoints": np.where(visible[..., None] > 0, points, 0.0),
        "visible": visible,
        "area": np.array([a["area"] for a in annotations], dtype=np.float64),
        "bbox": bbox,
        "to_image": to_image,
    }
    return {name: columns[name] for name in TABLE}


def crop_to_image(
    bbox: np.ndarray, geometry: CropGeometry, padding: float
) -> np.ndarray:
    """Affines ``(N, 2, 3)`` from crop pixels to image pixels.

    Args:
        bbox: ``(N, 4)`` x, y, w, h in image pixels.
        geometry: of the crops.
        padding: by which the box grows, about its centre.
    """
    centre = bbox[:, :2] + bbox[:, 2:] / 2
    height = padding * np.maximum(bbox[:, 3], bbox[:, 2] / ASPECT)
    box = np.stack((ASPECT * height, height), axis=-1)
    size = np.array(geometry.input_size)
    # Image pixels per input pixel, then the image point of crop pixel 0.
    pixel = box / (size - 1)
    origin = centre - box / 2 + geometry.to_input(np.zeros(2)) * pixel
    affine = np.zeros((len(bbox), 2, 3))
    affine[:, [0, 1], [0, 1]] = pixel / geometry.oversample
    affine[:, :, 2] = origin
    return affine


def write_crops(
    path: Path,
    photos: list[tuple[Path, list[Person]]],
    geometry: CropGeometry,
    padding: float,
) -> None:
    """Cut the persons of some photos and write their rows of the memory map."""
    crops = np.load(path, mmap_mode="r+")
    for photo, persons in photos:
        image = read_photo(photo)
        affines = crop_to_image(np.array([p.bbox for p in persons]), geometry, padding)
        for person, affine in zip(persons, affines, strict=True):
            crops[person.row] = cut(image, affine, geometry.crop_size)


def read_photo(path: Path) -> Image.Image:
    """Decode a photo to RGB; its EXIF orientation is ignored, as COCO does.

    Raises:
        StageError: it cannot be decoded.
    """
    try:
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            return image.convert("RGB")
    except OSError as error:
        raise StageError(
            f"{path}: cannot be decoded ({error}); prepare the data again"
        ) from None


def cut(image: Image.Image, affine: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Crop ``(h, w, 3)``: each pixel is the mean of the image area that it covers.

    Where the crop magnifies, an area is less than a pixel and linear interpolation
    takes over. Outside the image is black.

    Args:
        image: RGB.
        affine: ``(2, 3)`` without rotation, crop pixels -> image pixels.
        size: crop ``(w, h)``.
    """
    scale, shift = affine[[0, 1], [0, 1]], affine[:, 2]
    # Pillow counts from pixel edges: pixel i covers [i, i + 1].
    low = shift - scale / 2 + 0.5
    high = low + scale * np.array(size)
    reach = np.ceil(np.maximum(scale, 1)).astype(int)
    left, top = np.floor(low).astype(int) - reach
    right, bottom = np.ceil(high).astype(int) + reach
    window = image.crop((left, top, right, bottom))
    if scale.min() < 1:
        box = (low[0] - left, low[1] - top, high[0] - left, high[1] - top)
        return np.asarray(window.resize(size, Image.Resampling.BILINEAR, box=box))
    rows = area_means(np.asarray(window), low[1] - top, scale[1], size[1])
    columns = area_means(rows.swapaxes(0, 1), low[0] - left, scale[0], size[0])
    return np.rint(columns.swapaxes(0, 1)).astype(np.uint8)


def area_means(values: np.ndarray, low: float, scale: float, length: int) -> np.ndarray:
    """Means of ``values (n, m, c)`` over adjoining intervals of the first axis.

    Pixels cut by an interval's end count by the part that lies in it. (Pillow's box
    filter counts whole pixels: at two image pixels per crop pixel it moves things by up
    to 0.2 crop pixels.)

    Args:
        low: where the first interval begins; value i covers [i, i + 1].
        scale: length of an interval; length: number of intervals.
    """
    ends = low + scale * np.arange(length + 1)
    whole = np.floor(ends).astype(int)
    part = (ends - whole).astype(np.float32)[:, None, None]
    sums = np.add.reduceat(values, whole, axis=0, dtype=np.float32)[:-1]
    return (sums + np.diff(part * values[whole], axis=0)) / scale


def _photos(
    prepared: PreparedSplit, annotations: list[dict]
) -> Iterator[tuple[Path, list[Person]]]:
    names = {image["id"]: image["file_name"] for image in prepared.coco["images"]}
    persons: dict[int, list[Person]] = {}
    for row, annotation in enumerate(annotations):
        person = Person(row, tuple(annotation["bbox"]))
        persons.setdefault(annotation["image_id"], []).append(person)
    for image_id, group in persons.items():
        yield prepared.images_root / names[image_id], group


def _chunks(items: list, length: int) -> Iterator[list]:
    for start in range(0, len(items), length):
        yield items[start : start + length]


def main() -> None:
    """Write data/stores/STORE."""
    parser = argparse.ArgumentParser(prog="stages.downsample", description=__doc__)
    parser.add_argument("store", help="item of params.yaml under stores")
    parser.add_argument("--jobs", type=int, help="workers (default: one per core)")
    arguments = parser.parse_args()
    settings = load_params("stores", arguments.store)
    folder = Path("data/stores") / arguments.store
    manifest = downsample(settings, folder, arguments.jobs)
    for split, part in manifest["splits"].items():
        print(f"{folder / split}: {part['persons']} persons")


if __name__ == "__main__":
    run_stage(main)
