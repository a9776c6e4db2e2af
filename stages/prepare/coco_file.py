"""Read a COCO keypoint file that nobody has checked: its structure and its images."""

import json
from pathlib import Path

from plugins.datasets.keypoint_sets import KeypointSet, nearest_set
from stages.files import StageError
from stages.prepare.findings import Findings, shown

LARGEST_ID = 2**63 - 1


def read_coco(path: Path) -> dict:
    """Read the file; ``images``, ``annotations`` and ``categories`` are lists.

    Segmentations are left out: no stage reads them, and they would fill the memory.

    Raises:
        StageError: not readable, not JSON, or a list is missing.
    """
    try:
        with open(path, encoding="utf-8") as handle:
            coco = json.load(handle, object_hook=_without_segmentation)
    except OSError as error:
        raise StageError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise StageError(f"{path}: not valid JSON: {error}") from None
    for section in ("images", "annotations", "categories"):
        if not isinstance(coco, dict) or not isinstance(coco.get(section), list):
            raise StageError(
                f"{path}: no list {section!r} at the top level; expected a COCO "
                "keypoint file with images, annotations and categories"
            )
    return coco


def _without_segmentation(record: dict) -> dict:
    record.pop("segmentation", None)
    return record


def person_category(coco: dict, path: Path) -> tuple[dict, KeypointSet]:
    """Give the one category that has keypoints, and which set they are, in its order.

    Raises:
        StageError: none or several such categories, or keypoints of no known set.
    """
    found = [
        category
        for category in coco["categories"]
        if isinstance(category, dict) and category.get("keypoints")
    ]
    if len(found) != 1:
        raise StageError(
            f"{path}: {len(found)} categories have keypoints, expected one; COCO's "
            "are in person_keypoints_*.json (instances_*.json has none)"
        )
    names = found[0]["keypoints"]
    meant = nearest_set(names if isinstance(names, list) else ())
    if names != list(meant.names):
        raise StageError(
            f"{path}: category {shown(found[0].get('id'))}: keypoints "
            f"{_difference(names, meant)}; those of {meant.name}, in their order, are: "
            + ", ".join(meant.names)
        )
    if not is_id(found[0].get("id")):
        raise StageError(
            f"{path}: category id {shown(found[0].get('id'))}; expected a whole number"
        )
    return found[0], meant


def _difference(names: object, meant: KeypointSet) -> str:
    if not isinstance(names, list) or len(names) != len(meant):
        count = len(names) if isinstance(names, list) else shown(names)
        return f"are {count}, expected {len(meant)}"
    pairs = zip(names, meant.names, strict=True)
    index = next(i for i, (name, expected) in enumerate(pairs) if name != expected)
    return f"[{index}] is {shown(names[index])}, expected {meant.names[index]!r}"


def is_id(value: object) -> bool:
    """Whether the value is a whole number from 0 on that 64 bits hold."""
    return type(value) is int and 0 <= value <= LARGEST_ID


def check_images(coco: dict, findings: Findings) -> tuple[dict[int, dict], set[int]]:
    """Give the sound image entries by id, and the ids whose entries are left out."""
    images: dict[int, dict] = {}
    left_out: set[int] = set()
    faults = []
    for position, image in enumerate(coco["images"]):
        fault = _image_fault(image, images)
        if fault is None:
            images[image["id"]] = image
            continue
        image_id = image.get("id") if isinstance(image, dict) else None
        faults.append((position, image_id, *fault))
        # A mere repeat is harmless; of two different entries nobody knows which is
        # meant, so the annotations of both go.
        if is_id(image_id) and images.get(image_id) != image:
            left_out.add(image_id)
    for image_id in left_out:
        images.pop(image_id, None)
    for position, image_id, kind, message in faults:
        where = f"images[{position}]"
        if is_id(image_id):
            where += f" (id {image_id}, {_first_user(coco, image_id)})"
        # Before every annotation in the order of messages: a cause of theirs.
        findings.error(kind, position - len(coco["images"]), f"{where}: {message}")
    return images, left_out


def _image_fault(image: object, images: dict[int, dict]) -> tuple[str, str] | None:
    """Kind and message of the first rule that an image entry breaks."""
    if not isinstance(image, dict):
        return "bad image entry", f"is {shown(image)}, expected an object"
    if not is_id(image.get("id")):
        return (
            "bad image id",
            f"id is {shown(image.get('id'))}, expected a whole number from 0 on",
        )
    if image["id"] in images:
        return (
            "duplicate image id",
            "the id belongs to an entry before it; give each image its own",
        )
    name = image.get("file_name")
    if not isinstance(name, str) or not name:
        return (
            "bad file name",
            f"file_name is {shown(name)}, expected a path below the photos' folder",
        )
    size = (image.get("width"), image.get("height"))
    if not all(is_id(side) and side > 0 for side in size):
        return (
            "bad image size",
            f"width, height are {shown(size)}, expected two whole numbers of px",
        )
    return None


def _first_user(coco: dict, image_id: int) -> str:
    for annotation in coco["annotations"]:
        if isinstance(annotation, dict) and annotation.get("image_id") == image_id:
            return f"first of annotation {shown(annotation.get('id'))}"
    return "of no annotation"
