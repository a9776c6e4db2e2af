"""Write a tiny folder in COCO format, with a drawn stick figure per person."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from plugins.datasets.keypoint_sets import COCO17, KeypointSet

PERSONS = {"train": 6, "val": 4}
PER_IMAGE = 2
FIRST_ID = 101
POSE = np.array(
    [
        (0.50, 0.08), (0.54, 0.05), (0.46, 0.05), (0.59, 0.07), (0.41, 0.07),
        (0.68, 0.22), (0.32, 0.22), (0.80, 0.38), (0.20, 0.38), (0.86, 0.54),
        (0.14, 0.54), (0.60, 0.54), (0.40, 0.54), (0.63, 0.75), (0.37, 0.75),
        (0.65, 0.95), (0.35, 0.95),
    ]
)  # fmt: skip
"""``(17, 2)``: a standing person that faces the camera, in a unit square."""


def write_coco_folder(
    root: Path,
    persons: Mapping[str, int] = PERSONS,
    image_size: tuple[int, int] = (160, 120),
    seed: int = 0,
    keypoint_set: KeypointSet = COCO17,
) -> Path:
    """Write annotations/<split>.json and <split>/*.jpg below ``root``; gives ``root``.

    Args:
        persons: how many for each split; two share an image.
        image_size: ``(w, h)`` in px.
        seed: of the poses and colours.
        keypoint_set: of another one, the first keypoints of POSE.

    Over both splits, image ids count from 1 and annotation ids from 101. Of each
    person, about one keypoint in ten is not labelled (0, 0, 0) and one in ten is
    hidden (v = 1); at least the nose is visible.
    """
    rng = np.random.default_rng(seed)
    image_id, own_id = 0, FIRST_ID - 1
    for split, count in persons.items():
        images, annotations = [], []
        (root / split).mkdir(parents=True, exist_ok=True)
        for start in range(0, count, PER_IMAGE):
            image_id += 1
            picture = Image.new("RGB", image_size, tuple(rng.integers(150, 256, 3)))
            for slot in range(min(PER_IMAGE, count - start)):
                keypoints = _pose(image_size, slot, rng)[: len(keypoint_set)]
                colour = tuple(rng.integers(0, 100, 3))
                _draw(picture, keypoints, keypoint_set, colour)
                own_id += 1
                annotations.append(_annotation(own_id, image_id, keypoints, rng))
            name = f"{image_id:06d}.jpg"
            picture.save(root / split / name, quality=90)
            size = {"width": image_size[0], "height": image_size[1]}
            images.append({"id": image_id, "file_name": name, **size})
        coco = {"images": images, "annotations": annotations}
        coco["categories"] = [keypoint_set.category]
        _write(root / "annotations" / f"{split}.json", coco)
    return root


def _pose(image_size: tuple[int, int], slot: int, rng: np.random.Generator):
    """``(17, 2)`` px: the pose with jitter, in its share of the image."""
    width, height = image_size[0] / PER_IMAGE, image_size[1]
    scale = rng.uniform(0.7, 0.9)
    place = np.array([slot * width, 0]) + (1 - scale) / 2 * np.array([width, height])
    jittered = (POSE + rng.normal(0, 0.015, POSE.shape)).clip(0.01, 0.99)
    return (place + jittered * scale * np.array([width, height])).round(2)


def _draw(
    picture: Image.Image,
    keypoints: np.ndarray,
    keypoint_set: KeypointSet,
    colour: tuple,
) -> None:
    draw = ImageDraw.Draw(picture)
    for a, b in keypoint_set.skeleton:
        draw.line([*keypoints[a], *keypoints[b]], fill=colour, width=3)


def _annotation(
    own_id: int, image_id: int, keypoints: np.ndarray, rng: np.random.Generator
) -> dict:
    visible = rng.choice([0, 1, 2], len(keypoints), p=[0.1, 0.1, 0.8])
    visible[0] = 2
    low, high = keypoints.min(axis=0), keypoints.max(axis=0)
    width, height = (high - low).tolist()
    values = np.column_stack([keypoints, visible]) * (visible > 0)[:, None]
    return {
        "id": own_id,
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": [*low.tolist(), round(width, 2), round(height, 2)],
        "area": round(0.5 * width * height, 2),
        "keypoints": values.ravel().tolist(),
        "num_keypoints": int((visible > 0).sum()),
    }


def _write(path: Path, coco: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(coco))
