"""The rules about an annotation's structure; then those about its values."""

from dataclasses import dataclass

import numpy as np

from plugins.datasets.keypoint_sets import KeypointSet
from stages.prepare.coco_file import is_id
from stages.prepare.findings import Findings, shown
from stages.prepare.values import area_message, as_arrays, check_values, warn


@dataclass(frozen=True)
class Known:
    """What an annotation may refer to.

    Attributes:
        images: sound image entries by id.
        images_left_out: ids of image entries that broke a rule.
        categories: ids of all categories.
        person: id of the category that has keypoints.
        keypoint_set: of that category.
    """

    images: dict[int, dict]
    images_left_out: set[int]
    categories: list
    person: int
    keypoint_set: KeypointSet


def check_persons(coco: dict, known: Known, findings: Findings) -> list[dict]:
    """Give the sound annotations of persons, ``num_keypoints`` and ``iscrowd`` set.

    An annotation that breaks several rules counts once, under the first of them.
    """
    first_use: dict[int, int] = {}
    sound = []
    for position, annotation in enumerate(coco["annotations"]):
        fault = _reference_fault(annotation, position, known, first_use)
        if fault is None:
            dropped = _dropped_kind(annotation, known)
            if dropped:
                findings.dropped[dropped] += 1
                continue
            fault = _shape_fault(annotation, len(known.keypoint_set))
        if fault is None:
            sound.append((position, annotation))
        else:
            findings.error(
                fault[0], position, f"{_name(annotation, position)}: {fault[1]}"
            )
    entries = as_arrays(sound, known.images, known.keypoint_set)
    with np.errstate(invalid="ignore", over="ignore"):
        kept = check_values(entries, findings)
        warn(entries, kept, findings)
    counts = entries.labelled.sum(axis=1)
    return [
        entries.annotations[i] | {"iscrowd": 0, "num_keypoints": int(counts[i])}
        for i in np.flatnonzero(kept)
    ]


def find_fault(
    annotation: object, position: int, known: Known, first_use: dict[int, int]
) -> tuple[str, str] | None:
    """Kind and message of the first broken rule about ids, or about structure.

    Args:
        first_use: position by id of the annotations before; this one is added.
    """
    fault = _reference_fault(annotation, position, known, first_use)
    return fault or _shape_fault(annotation, len(known.keypoint_set))


def _name(annotation: object, position: int) -> str:
    if isinstance(annotation, dict) and is_id(annotation.get("id")):
        return f"annotation {annotation['id']}"
    return f"annotations[{position}]"


def _reference_fault(
    annotation: object, position: int, known: Known, first_use: dict[int, int]
) -> tuple[str, str] | None:
    """Kind and message of the first broken rule about ids."""
    if not isinstance(annotation, dict):
        return "bad annotation", f"is {shown(annotation)}, expected an object"
    own = annotation.get("id")
    if not is_id(own) or own == 0:
        return (
            "bad annotation id",
            f"id is {shown(own)}, expected a whole number from 1 on (pycocotools "
            "takes a match with id 0 for none); renumber",
        )
    if first_use.setdefault(own, position) != position:
        return (
            "duplicate annotation id",
            f"annotations[{first_use[own]}] and annotations[{position}] share this "
            "id; give each its own",
        )
    category = annotation.get("category_id")
    if category not in known.categories:
        return (
            "unknown category",
            f"category_id is {shown(category)}, expected {shown(known.categories)}",
        )
    crowd = annotation.get("iscrowd", 0)
    if crowd not in (0, 1):
        return "bad iscrowd", f"iscrowd is {shown(crowd)}, expected 0 or 1"
    image_id = annotation.get("image_id")
    if not is_id(image_id) or (
        image_id not in known.images and image_id not in known.images_left_out
    ):
        return (
            "annotation without image",
            f"no entry of images has the image_id {shown(image_id)}; add the image "
            "or remove the annotation",
        )
    return None


def _dropped_kind(annotation: dict, known: Known) -> str | None:
    """Why a sound annotation is no person to train or evaluate on, if so."""
    if annotation["category_id"] != known.person:
        return "other category"
    if annotation.get("iscrowd", 0):
        return "crowd"
    if annotation["image_id"] not in known.images:
        return "person on a skipped image"
    return None


def _shape_fault(annotation: dict, count: int) -> tuple[str, str] | None:
    """Kind and message of the first value that is not of numbers as expected."""
    keypoints = annotation.get("keypoints")
    if not isinstance(keypoints, list) or len(keypoints) != 3 * count:
        given = f"are {shown(keypoints)}"
        if isinstance(keypoints, list):
            given = f"hold {len(keypoints)} values"
        return (
            "keypoints of wrong length",
            f"keypoints {given}, expected {3 * count}: x, y, v of each of "
            f"{count} keypoints",
        )
    if not _are_numbers(keypoints):
        wrong = next(value for value in keypoints if not _are_numbers([value]))
        return (
            "keypoints not numbers",
            f"keypoints hold {shown(wrong)}, expected numbers",
        )
    box = annotation.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not _are_numbers(box):
        return (
            "bad box",
            f"bbox is {shown(box)}, expected four numbers of px: x, y, width, height",
        )
    if not _are_numbers([annotation.get("area")]):
        return "bad area", area_message(annotation.get("area"))
    return None


def _are_numbers(values: list) -> bool:
    return set(map(type, values)) <= {int, float}
