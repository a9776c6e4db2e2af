"""What public datasets of another format have in common on the way to COCO's."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from plugins.datasets.keypoint_sets import KeypointSet
from stages.files import StageError
from stages.prepare.findings import shown
from stages.prepare.photos import FORMATS

COVERED = 0.52
"""Share of the box around its keypoints that a person's area is taken to be.

Neither MPII nor LSP has areas, which OKS divides by. Of COCO's persons with many
labelled keypoints the segment covers about half of the box.
"""


def read_sizes(folder: Path, names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Width and height in px of photos, from their headers.

    Raises:
        StageError: one is missing, leaves the folder, or is no photo.
    """
    inside = folder.resolve()
    sizes = {}
    for name in names:
        try:
            path = (folder / name).resolve()
            if not path.is_relative_to(inside):
                raise StageError(f"{folder}: photo {shown(name)} leaves that folder")
            with Image.open(path, formats=FORMATS) as image:
                sizes[name] = image.size
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise StageError(f"{folder}: photo {shown(name)}: {reason}") from None
    return sizes


def enclose(
    points: np.ndarray, pad: np.ndarray, sizes: np.ndarray
) -> tuple[list[list[float]], list[float]]:
    """Boxes x, y, w, h around keypoints, and areas; of no keypoint, all is 0.

    Args:
        points: ``(N, K, 2)`` image px, NaN where not labelled.
        pad: ``(N,)`` px on each side.
        sizes: ``(N, 2)`` px of the images, at whose borders the boxes end.
    """
    low = np.fmin.reduce(points, axis=1) - pad[:, None]
    high = np.fmax.reduce(points, axis=1) + pad[:, None]
    low, high = np.maximum(low, 0), np.minimum(high, sizes)
    corners = np.nan_to_num(np.hstack((low, high - low))).tolist()
    boxes = [[round(value, 2) for value in corner] for corner in corners]
    return boxes, [round(COVERED * width * height, 2) for *_, width, height in boxes]


def coco_keypoints(points: np.ndarray, digits: int) -> list[list[float]]:
    """COCO's flat x, y, v of each person; v is 2, or all are 0 where not labelled.

    Args:
        points: ``(N, K, 2)`` image px, NaN where not labelled.
        digits: after the point.
    """
    labelled = np.isfinite(points).all(axis=-1, keepdims=True)
    values = np.concatenate((points, np.full_like(points[..., :1], 2)), axis=-1)
    values = np.where(labelled, values.round(digits), 0.0)
    return values.reshape(len(points), -1).tolist()


def image_entry(number: int, name: str, size: tuple[int, int]) -> dict:
    """An image as COCO has it."""
    return {"id": number, "file_name": name, "width": size[0], "height": size[1]}


def coco_file(images: list[dict], persons: list[dict], keypoints: KeypointSet) -> dict:
    """The COCO file of these entries."""
    return {
        "info": {},
        "images": images,
        "annotations": persons,
        "categories": [keypoints.category],
    }
