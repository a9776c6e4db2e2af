"""The crop store: persons of one size, packed; what downsample writes and others read.

``<store>/manifest.json`` and, per split, ``crops.npy`` (uint8, memory-mapped) and
``table.npz``. Coordinates have pixel centres at integers. A crop is the network's input
with ``margin`` input pixels of context on each side, sampled ``oversample`` times
finer: input pixel ``x`` is crop pixel
``oversample * (x + margin) + (oversample - 1) / 2``.
"""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plugins.datasets.keypoint_sets import COCO17, find_set

TABLE = (
    "annotation_id",
    "image_id",
    "keypoints",
    "visible",
    "area",
    "bbox",
    "to_image",
)
DETECTED = "box_score"
"""A further column, of stores of detected boxes."""


@dataclass(frozen=True)
class CropGeometry:
    """How crops of one size lie around the network's input.

    Attributes:
        input_size: input ``(w, h)`` in pixels.
        margin: context on each side, in input pixels.
        oversample: crop pixels per input pixel along each axis.
    """

    input_size: tuple[int, int]
    margin: int
    oversample: int

    @property
    def crop_size(self) -> tuple[int, int]:
        """Crop ``(w, h)`` in crop pixels."""
        width, height = (
            (side + 2 * self.margin) * self.oversample for side in self.input_size
        )
        return width, height

    def to_crop(self, points: np.ndarray) -> np.ndarray:
        """Input pixels -> crop pixels."""
        return self.oversample * (points + self.margin) + (self.oversample - 1) / 2

    def to_input(self, points: np.ndarray) -> np.ndarray:
        """Crop pixels -> input pixels."""
        return (points - (self.oversample - 1) / 2) / self.oversample - self.margin


class CropStore:
    """One split of a crop store, read through a memory map.

    Attributes:
        geometry: how the crops lie around the input.
        crops: ``(N, H, W, 3)`` uint8 RGB, read-only memory map.
        keypoints: ``(N, K, 2)`` float64 in crop pixels; ``input_keypoints`` has them in
            input pixels.
        visible: ``(N, K)`` uint8, COCO's 0, 1, 2.
        annotation_id, image_id: ``(N,)`` int64.
        area: ``(N,)`` float64, image pixels squared.
        bbox: ``(N, 4)`` float64, x, y, w, h in image pixels.
        to_image: ``(N, 2, 3)`` float64, crop pixels -> image pixels.
        box_score: ``(N,)`` float64, a detector's; 1 for annotated boxes.
        data_hash: of the dataset that the store was made from.
        keypoint_set: what its keypoints are.

    Raises:
        ValueError: a file is missing or does not have the shape that the manifest says.
    """

    def __init__(self, folder: Path) -> None:
        folder = Path(folder)
        remedy = f"make it again with python -m stages.downsample {folder.parent.name}"
        try:
            persons = self._read_manifest(folder)
            self.crops = np.load(folder / "crops.npy", mmap_mode="r")
            with np.load(folder / "table.npz", allow_pickle=False) as table:
                columns = {name: table[name] for name in TABLE}
                detected = DETECTED in table
                score = table[DETECTED] if detected else np.ones(persons)
                columns[DETECTED] = score
        except KeyError as error:
            raise ValueError(f"{folder}: no entry {error}; {remedy}") from None
        except (OSError, EOFError, TypeError, ValueError, zipfile.BadZipFile) as error:
            message = f"{folder}: not a readable crop store ({error}); {remedy}"
            raise ValueError(message) from None
        self.__dict__.update(columns)
        width, height = self.geometry.crop_size
        known = len(self.keypoint_set)
        if self.keypoints.shape[1:] != (known, 2) or self.visible.shape[1:] != (known,):
            raise ValueError(
                f"{folder}: keypoints of shape {self.keypoints.shape}, {known} of "
                f"{self.keypoint_set.name} expected; {remedy}"
            )
        expected = (persons, height, width, 3)
        rows = {name: len(column) for name, column in columns.items()}
        if self.crops.shape != expected or set(rows.values()) != {persons}:
            raise ValueError(
                f"{folder}: crops of shape {self.crops.shape} and rows {rows}, "
                f"{expected} expected; {remedy}"
            )

    def _read_manifest(self, folder: Path) -> int:
        """Take over what the manifest says; gives the number of persons."""
        self.manifest = json.loads((folder.parent / "manifest.json").read_text())
        self.geometry = CropGeometry(
            tuple(self.manifest["input_size"]),
            self.manifest["margin"],
            self.manifest["oversample"],
        )
        self.data_hash = self.manifest["data_hash"]
        # Stores that name none were made when there was no other set.
        self.keypoint_set = find_set(self.manifest.get("keypoint_set", COCO17.name))
        return self.manifest["splits"][folder.name]["persons"]

    def __len__(self) -> int:
        return len(self.crops)

    @property
    def margin(self) -> int:
        """Context on each side, in input pixels."""
        return self.geometry.margin

    @property
    def input_size(self) -> tuple[int, int]:
        """Input ``(w, h)`` in pixels."""
        return self.geometry.input_size

    @property
    def box_sides(self) -> np.ndarray:
        """Sides ``(N, 2)`` of the box that the input shows, in image pixels.

        The padded box of the person, brought to the input's aspect.
        """
        pixel = self.to_image[:, [0, 1], [0, 1]] * self.geometry.oversample
        return pixel * (np.array(self.input_size) - 1)

    @property
    def box_area(self) -> np.ndarray:
        """Area ``(N,)`` of that box in image pixels squared."""
        return self.box_sides.prod(axis=1)

    @property
    def padded_share(self) -> np.ndarray:
        """Share ``(N, 2)`` of ``box_sides`` that the padded box alone has; one is 1."""
        share = self.bbox[:, 2:] / self.box_sides
        return share / share.max(axis=1, keepdims=True)

    @property
    def input_keypoints(self) -> np.ndarray:
        """Keypoints ``(N, K, 2)`` in input pixels."""
        return self.geometry.to_input(self.keypoints)

    def to_image_pixels(self, keypoints: np.ndarray) -> np.ndarray:
        """Input pixels ``(N, K, 2)`` of every person -> original image pixels."""
        points = self.geometry.to_crop(np.asarray(keypoints, dtype=np.float64))
        linear, shift = self.to_image[:, :, :2], self.to_image[:, :, 2]
        return np.einsum("nij,nkj->nki", linear, points) + shift[:, None]

    def inputs(self, rows: slice) -> np.ndarray:
        """What the network sees of these persons, ``(n, h, w, 3)`` uint8.

        Without margin; finer crops are averaged over each input pixel.
        """
        step = self.geometry.oversample
        width, height = self.input_size
        top = left = self.margin * step
        crops = self.crops[rows, top : top + height * step, left : left + width * step]
        if step == 1:
            return np.array(crops)
        lines = crops.reshape(len(crops), height, step, -1)
        lines = lines.sum(axis=2, dtype=np.uint32).reshape(-1, height, width, step, 3)
        total = sum(lines[..., part, :] for part in range(step))
        return np.rint(total / np.float32(step**2)).astype(np.uint8)
