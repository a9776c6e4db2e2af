"""A split's table: persons in order, read and written a few at a time.

Memory does not grow with the persons, but for some 25 bytes each for their order.
"""

import contextlib
import shutil
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plugins.datasets.crop_store import DETECTED, TABLE, CropGeometry
from plugins.datasets.prepared import Entries
from stages.downsample.camera import crop_to_image
from stages.files import StageError, new_file

KEY = struct.Struct("=3q")
"""Image id, own id, and where the entry is in the file."""


@dataclass(frozen=True)
class Order:
    """The persons of a split as the store has them, by image id and annotation id.

    Persons of one photo stand together, so that each photo is decoded once.

    Attributes:
        persons: ``(N,)`` where each annotation is in the file of the entries.
        photos: ``(P,)`` the same of the photos, in the order of their persons.
        rows: ``(P + 1,)`` first row of each photo's persons, and the end.
    """

    persons: np.ndarray
    photos: np.ndarray
    rows: np.ndarray


def find_order(entries: Entries, folder: Path) -> Order:
    """Read the annotations once and order them; ``folder`` is for what is in between.

    Raises:
        StageError: no person has a labelled keypoint.
    """
    with (
        open(folder / "images.keys", "wb") as images,
        open(folder / "persons.keys", "wb") as persons,
    ):
        for section, place, entry in entries.scan():
            if section == "images":
                images.write(KEY.pack(entry["id"], 0, place))
            elif DETECTED in entry or (
                not entry.get("iscrowd") and max(entry["keypoints"][2::3]) > 0
            ):
                persons.write(KEY.pack(entry["image_id"], entry["id"], place))
        if not persons.tell():
            raise StageError(
                f"{entries.images_root}: no person with a labelled keypoint"
            )
    image_id, places = sorted_keys(folder / "persons.keys")
    rows = np.flatnonzero(np.append(True, image_id[1:] != image_id[:-1]))
    known, photos = sorted_keys(folder / "images.keys")
    found = np.searchsorted(known, image_id[rows])
    return Order(places, photos[found], np.append(rows, len(places)))


def sorted_keys(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Sort a file of keys in place; gives its image ids and places, both mapped."""
    keys = np.memmap(path, dtype=[("image", "q"), ("own", "q"), ("place", "q")])
    keys.sort(order=["image", "own"])
    return keys["image"], keys["place"]


class Table:
    """The table's columns, each as an array's file, written some persons at a time.

    Use it in a with block.
    """

    def __init__(
        self, folder: Path, persons: int, geometry: CropGeometry, settings: dict
    ) -> None:
        """Begin the files in ``folder``; ``settings`` as in params.yaml."""
        self._folder, self._persons, self._written = folder, persons, 0
        self._geometry, self._padding = geometry, settings["padding"]
        detected = settings.get("boxes", "gt") == "detections"
        self._names = (*TABLE, DETECTED) if detected else TABLE
        with contextlib.ExitStack() as stack:
            self._files = {
                name: stack.enter_context(open(folder / f"{name}.npy", "wb"))
                for name in self._names
            }
            self._open = stack.pop_all()

    def __enter__(self) -> "Table":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def add(self, annotations: list[dict]) -> np.ndarray:
        """Write the next persons; gives their affines ``(N, 2, 3)``, crop -> image."""
        block = make_table(annotations, self._geometry, self._padding)
        for name, file in self._files.items():
            column = block[name]
            if self._written == 0:
                header = np.lib.format.header_data_from_array_1_0(column)
                header |= {"shape": (self._persons, *column.shape[1:])}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(column.tobytes())
        self._written += len(annotations)
        return block["to_image"]

    def pack(self, path: Path) -> None:
        """Pack the columns' files into the table ``path``, as np.savez does.

        Without the time of day, so that the same table is the same bytes.
        """
        if self._written != self._persons:
            raise RuntimeError(f"{self._written} of {self._persons} persons added")
        self._open.close()
        with new_file(path, "wb") as handle, zipfile.ZipFile(handle, "w") as archive:
            for name in self._names:
                entry = zipfile.ZipInfo(f"{name}.npy")
                with (
                    open(self._folder / entry.filename, "rb") as column,
                    archive.open(entry, "w", force_zip64=True) as packed,
                ):
                    shutil.copyfileobj(column, packed)


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
    return {
        "annotation_id": np.array([a["id"] for a in annotations], dtype=np.int64),
        "image_id": np.array([a["image_id"] for a in annotations], dtype=np.int64),
        "keypoints": np.where(visible[..., None] > 0, points, 0.0),
        "visible": visible,
        "area": np.array([a["area"] for a in annotations], dtype=np.float64),
        "bbox": bbox,
        "to_image": to_image,
        DETECTED: np.array([a.get(DETECTED, 1) for a in annotations], dtype=np.float64),
    }
