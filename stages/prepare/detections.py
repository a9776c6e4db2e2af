"""Boxes of a person detector for the persons of val, read from a COCO results file."""

import json
import math
from collections import Counter, defaultdict
from pathlib import Path

from stages.files import StageError
from stages.prepare.coco_file import is_id
from stages.prepare.findings import Findings, shown
from stages.prepare.splits import Split, SplitFiles

MOST_BOXES = 100
"""Boxes that count per image, the best: as many as COCO's evaluation of boxes takes.

Of the poses in them, its evaluation of keypoints takes 20.
"""
LARGEST = 1e9
"""Pixels; beyond, a number is no coordinate."""


def read_detections(path: Path, val: Split) -> Split:
    """Read and check the boxes; no photo is opened.

    Images without a person count too, for a pose found there is a false positive.
    Boxes of other categories and of images that val lacks are left out and counted.

    Args:
        path: of a list of ``image_id``, ``category_id``, ``bbox`` (x, y, width, height
            in image px) and ``score`` (0 to 1).
        val: the split whose images they are on.

    Returns:
        A split whose persons are boxes, best first in each image, with ``box_score``
        and without a labelled keypoint.

    Raises:
        StageError: not readable as such a list.
    """
    findings = Findings(path)
    of_image = _by_image(_read(path), val, findings)
    images = [image for image in val.sound.values() if image["id"] in of_image]
    chosen = [entry for image in images for entry in of_image[image["id"]]]
    keypoints = [0] * 3 * len(val.category["keypoints"])
    boxes = [_as_person(n, entry, keypoints) for n, entry in enumerate(chosen, start=1)]
    findings.dropped = +Counter(findings.dropped)
    files = SplitFiles(
        path, val.files.images, val.files.images_root, val.files.images_root_is
    )
    return Split(
        files,
        findings,
        {},
        val.category,
        val.keypoint_set,
        val.sound,
        images,
        boxes,
    )


def _by_image(entries: list, val: Split, findings: Findings) -> dict[int, list[dict]]:
    """The sound boxes of each image, best first; findings say what was left out."""
    of_image = defaultdict(list)
    for position, entry in enumerate(entries):
        fault = _fault(entry, val.sound)
        if fault:
            findings.error(fault[0], position, f"[{position}]: {fault[1]}")
        elif entry["category_id"] != val.category["id"]:
            findings.dropped["box of another category"] += 1
        elif entry["image_id"] not in val.sound:
            findings.dropped["box on an image that val lacks"] += 1
        else:
            of_image[entry["image_id"]].append(entry)
    for image_id, boxes in of_image.items():
        boxes.sort(key=lambda box: -box["score"])
        beyond = len(boxes[MOST_BOXES:])
        findings.dropped["box beyond the best of its image"] += beyond
        of_image[image_id] = boxes[:MOST_BOXES]
    return of_image


def _read(path: Path) -> list:
    try:
        entries = json.loads(path.read_bytes())
    except OSError as error:
        raise StageError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise StageError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(entries, list):
        raise StageError(
            f"{path}: is {type(entries).__name__}; expected a list of detections, each "
            "with image_id, category_id, bbox and score, as COCO's results are"
        )
    return entries


def _fault(entry: object, images: dict[int, dict]) -> tuple[str, str] | None:
    """Kind and message of the first rule that a detection breaks."""
    if not isinstance(entry, dict):
        return "bad detection", f"is {shown(entry)}, expected an object"
    for name in ("image_id", "category_id"):
        if not is_id(entry.get(name)):
            found = shown(entry.get(name))
            return "bad id", f"{name} is {found}, expected a whole number from 0 on"
    score = entry.get("score")
    if not (_is_number(score) and 0 <= score <= 1):
        return "bad box score", f"score is {shown(score)}, expected 0 to 1"
    box = entry.get("bbox")
    four = isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))
    if not (four and max(map(abs, box)) < LARGEST and min(box[2:]) > 0):
        return (
            "bad box",
            f"bbox is {shown(box)}, expected x, y, width, height in px, with width and "
            "height above 0",
        )
    image = images.get(entry["image_id"])
    if image and not _meets(box, image):
        size = f"{image['width']} x {image['height']}"
        return (
            "box outside the image",
            f"bbox {shown(box)} lies outside image {image['id']} ({size} px)",
        )
    return None


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and abs(value) < math.inf


def _meets(box: list, image: dict) -> bool:
    """Whether a box and its image share anything, and it is not many times larger."""
    x, y, width, height = box
    reach = max(image["width"], image["height"])
    inside = x < image["width"] and y < image["height"] and x + width > 0
    near = min(x, y) >= -reach and max(width, height) <= 3 * reach
    return inside and y + height > 0 and near


def _as_person(number: int, entry: dict, keypoints: list) -> dict:
    """The entry of a box in a prepared file."""
    return {
        "id": number,
        "image_id": entry["image_id"],
        "category_id": entry["category_id"],
        "iscrowd": 0,
        "bbox": entry["bbox"],
        "area": entry["bbox"][2] * entry["bbox"][3],
        "keypoints": keypoints,
        "num_keypoints": 0,
        "box_score": entry["score"],
    }
