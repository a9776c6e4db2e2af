"""The source ``lspet``: the official folder of Leeds Sports Pose, extended."""

import re
from functools import partial
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from plugins.datasets.keypoint_sets import COCO17, LSP14, KeypointSet, find_set
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

PAD = 0.1
"""Of the box around the labelled joints, on each side, as a share of its longer one."""
BODY = {
    one.name: [
        (keypoint, LSP14.names.index(name))
        for keypoint, name in enumerate(one.names)
        if name in LSP14.names
    ]
    for one in (LSP14, COCO17)
}
"""Which keypoint of a set is which joint of LSP."""


def find_lspet(settings: dict, split: str) -> SplitFiles:
    """Fetch what is missing, and find one split.

    Args:
        settings: as in conf/data/lspet.yaml.
        split: ``train`` or ``val``.

    Raises:
        StageError: a part cannot be had, or a setting is wrong.
    """
    if settings["keypoints"] not in BODY:
        known = " or ".join(BODY)
        raise StageError(f"keypoints={settings['keypoints']}: expected {known}")
    keypoint_set = find_set(settings["keypoints"])
    names = read_list(Path(settings[split]))
    root = fetch_parts(settings)
    images = root / "images"
    return SplitFiles(
        root / "joints.mat",
        images,
        images.as_posix(),
        WORKING_FOLDER,
        partial(read_lspet, images=images, names=names, keypoint_set=keypoint_set),
    )


def read_list(path: Path) -> list[str]:
    """File names, one per line.

    Raises:
        StageError: the list cannot be read, or a line is no name of LSPET.
    """
    try:
        names = path.read_text().split()
    except (OSError, UnicodeDecodeError) as error:
        raise StageError(f"{path}: cannot be read: {error}") from None
    for name in names:
        if not re.fullmatch(r"im\d{5}\.jpg", name):
            raise StageError(f"{path}: {shown(name)}: expected such as im00001.jpg")
    if len(set(names)) < len(names) or not names:
        raise StageError(f"{path}: expected file names, each of them once")
    return names


def read_lspet(
    path: Path, images: Path, names: list[str], keypoint_set: KeypointSet
) -> dict:
    """These photos' persons as a COCO file; image and person have the photo's number.

    A joint outside its photo counts as not labelled: the photos were cut out.

    Raises:
        StageError: ``path`` is not LSPET's joints.mat, or a photo cannot be read.
    """
    numbers = [int(name[2:-4]) for name in names]
    joints = _joints_of(path, np.array(numbers))
    sizes = read_sizes(images, names)
    points, boxes, areas = _inside(joints, np.array([sizes[name] for name in names]))
    keypoints = np.full((len(names), len(keypoint_set), 2), np.nan)
    to, origin = np.array(BODY[keypoint_set.name]).T
    keypoints[:, to] = points[:, origin]
    columns = (numbers, boxes, areas, coco_keypoints(keypoints, digits=2))
    persons = [_person(*row) for row in zip(*columns, strict=True)]
    entries = [
        image_entry(number, name, sizes[name])
        for number, name in zip(numbers, names, strict=True)
    ]
    coco = coco_file(entries, persons, keypoint_set)
    coco["categories"][0]["skeleton"] = [
        [a + 1, b + 1] for a, b in keypoint_set.skeleton if {a, b} <= set(to.tolist())
    ]
    return coco


def _joints_of(path: Path, numbers: np.ndarray) -> np.ndarray:
    """Joints ``(N, 14, 3)`` of these photos, see `read_joints`."""
    joints = read_joints(path)
    if not 1 <= numbers.min() <= numbers.max() <= len(joints):
        raise StageError(
            f"{path}: holds joints of {len(joints)} photos; the list of this split "
            f"names im{numbers.min():05d}.jpg to im{numbers.max():05d}.jpg"
        )
    return joints[numbers - 1]


def _inside(joints: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, list, list]:
    """Points ``(N, 14, 2)`` in px, NaN where not labelled; persons' boxes and areas.

    Args:
        joints: ``(N, 14, 3)``.
        size: ``(N, 2)`` of the photos, px.
    """
    points = np.where(joints[..., 2:] > 0, joints[..., :2], np.nan)
    with np.errstate(invalid="ignore"):
        outside = ((points < 0) | (points > size[:, None])).any(axis=-1)
        points = np.where(outside[..., None], np.nan, points)
        extent = np.fmax.reduce(points, axis=1) - np.fmin.reduce(points, axis=1)
        return points, *enclose(points, PAD * extent.max(axis=1), size)


def _person(number: int, box: list, area: float, flat: list) -> dict:
    """The annotation of a photo's person, with its keypoints as COCO has them."""
    return {
        "id": number,
        "image_id": number,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": box,
        "area": area,
        "area_source": "0.52*kpt_bbox",
        "keypoints": flat,
        "num_keypoints": sum(v > 0 for v in flat[2::3]),
    }


def read_joints(path: Path) -> np.ndarray:
    """Joints ``(N, 14, 3)`` of joints.mat: x and y in px, and 1 where visible.

    Raises:
        StageError: it cannot be read as that.
    """
    try:
        joints = loadmat(path)["joints"]
    except Exception as error:  # scipy raises many kinds for a damaged file
        raise StageError(f"{path}: not readable as LSPET's joints ({error})") from None
    if (
        joints.ndim != 3
        or joints.shape[:2] != (14, 3)
        or joints.dtype.kind not in "fiu"
    ):
        raise StageError(f"{path}: joints of shape {joints.shape}, expected (14, 3, N)")
    return joints.transpose(2, 0, 1).astype(np.float64)
