"""The source ``mpii``: MPII's photos with HRNet's json and the head boxes beside it."""

import json
from functools import partial
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from plugins.datasets.keypoint_sets import MPII16
from stages.files import StageError
from stages.prepare.findings import shown
from stages.prepare.public.converted import (
    coco_file,
    coco_keypoints,
    enclose,
    image_entry,
    read_sizes,
)
from stages.prepare.public.parts import fetch_parts
from stages.prepare.splits import WORKING_FOLDER, SplitFiles

LAYOUTS = (
    {"train": "annot/train.json", "val": "annot/valid.json"},
    {"train": "annotations/mpii_train.json", "val": "annotations/mpii_val.json"},
)
"""HRNet's names and MMPose's."""
HEADS = {"valid.json": "gt_valid.mat", "mpii_val.json": "mpii_gt_val.mat"}
"""File of head boxes beside the annotations of val."""
PERSON = 200
"""Height in px of a person of scale 1."""
LOWER = 15
"""Px by which HRNet moves the box down, times the scale."""
HEAD_SIZE = 0.6
"""Of the head box's diagonal (MPII's evaluation: SC_BIAS)."""
SHAPES = {"joints": (16, 2), "joints_vis": (16,), "center": (2,), "scale": ()}
LARGEST_SHIFT = 2
"""Px by which joints may differ between the two files; MATLAB's are rounded."""


def find_mpii(settings: dict, split: str) -> SplitFiles:
    """Fetch what is missing, and find one split.

    Args:
        settings: as in conf/data/mpii.yaml.
        split: ``train`` or ``val``.

    Raises:
        StageError: a part cannot be had.
    """
    root = fetch_parts(settings)
    found = [root / names[split] for names in LAYOUTS if (root / names[split]).exists()]
    images = root / "images"
    read = partial(read_mpii, images=images)
    return SplitFiles(found[0], images, images.as_posix(), WORKING_FOLDER, read)


def read_mpii(path: Path, images: Path) -> dict:
    """HRNet's json as a COCO file; persons count from 1, in the order of the file.

    The persons of val have a ``head_size`` in px, by which PCKh counts.

    Raises:
        StageError: a person is not as expected, the head boxes belong to other
            persons, or a photo cannot be read.
    """
    persons = _read_persons(path)
    columns = {
        name: np.array([p[name] for p in persons], dtype=float).reshape(-1, *shape)
        for name, shape in SHAPES.items()
    }
    names = [person["image"] for person in persons]
    ids = {name: number for number, name in enumerate(dict.fromkeys(names), 1)}
    sizes = read_sizes(images, ids)
    # MATLAB counts pixels from 1.
    points = np.where(
        columns["joints_vis"][..., None] > 0, columns["joints"] - 1, np.nan
    )
    scale = columns["scale"]
    corner = columns["center"] - 1 - PERSON / 2 * scale[:, None]
    corner[:, 1] += LOWER * scale
    boxes = np.column_stack((corner, PERSON * scale, PERSON * scale)).round(2)
    size = np.array([sizes[name] for name in names])
    _, areas = enclose(points, PERSON / 10 * scale, size)
    flat = coco_keypoints(points, digits=3)
    heads = _read_heads(path, columns)
    annotations = [
        {
            "id": number + 1,
            "image_id": ids[name],
            "category_id": 1,
            "iscrowd": 0,
            "bbox": boxes[number].tolist(),
            "area": areas[number],
            "num_keypoints": sum(v > 0 for v in flat[number][2::3]),
            "keypoints": flat[number],
        }
        | ({} if heads is None else {"head_size": float(heads[number])})
        for number, name in enumerate(names)
    ]
    entries = [image_entry(own, name, sizes[name]) for name, own in ids.items()]
    return coco_file(entries, annotations, MPII16)


def _read_persons(path: Path) -> list[dict]:
    try:
        persons = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise StageError(f"{path}: not readable as JSON: {error}") from None
    if not isinstance(persons, list) or not persons:
        raise StageError(f"{path}: expected a list of persons, as HRNet's MPII json")
    for number, person in enumerate(persons):
        fault = _fault(person)
        if fault:
            raise StageError(f"{path}: person [{number}]: {fault}")
    return persons


def _fault(person: object) -> str | None:
    """What of a person is not as expected."""
    if not isinstance(person, dict) or not isinstance(person.get("image"), str):
        return "expected an object with image, " + ", ".join(SHAPES)
    for name, shape in SHAPES.items():
        try:
            values = np.array(person.get(name), dtype=float)
        except (TypeError, ValueError):
            values = np.array("")
        if values.shape != shape or not np.isfinite(values).all():
            wanted = " x ".join(map(str, shape)) or "one"
            return f"{name} is {shown(person.get(name))}, expected {wanted} numbers"
    return None


def _read_heads(path: Path, columns: dict[str, np.ndarray]) -> np.ndarray | None:
    """Head sizes ``(N,)`` in px of the persons of val, from the file beside.

    Raises:
        StageError: the file is missing, or of other persons.
    """
    if path.name not in HEADS:
        return None
    path = path.with_name(HEADS[path.name])
    try:
        mat = loadmat(path)
        corners, joints = mat["headboxes_src"], mat["pos_gt_src"].transpose(2, 0, 1)
        known = (1 - mat["jnt_missing"].T) * columns["joints_vis"] > 0
        shift = np.abs(joints - columns["joints"]).max(axis=-1)
        sizes = HEAD_SIZE * np.linalg.norm(corners[1] - corners[0], axis=0)
        same = len(sizes) == len(known) and shift[known].max() <= LARGEST_SHIFT
    except Exception as error:  # scipy raises many kinds for a damaged file
        raise StageError(f"{path}: not readable as head boxes ({error})") from None
    if not same or not (sizes > 0).all():
        raise StageError(f"{path}: has not the head boxes of these persons")
    return sizes
