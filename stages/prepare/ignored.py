"""Persons that are no example but that COCO's evaluation knows, and ignores."""

import numpy as np

from stages.prepare.persons import Known, find_fault
from stages.prepare.values import as_arrays

IGNORED = "ignored_persons"
"""Where a prepared file has them, beside ``annotations``."""
FIELDS = ("id", "image_id", "category_id", "iscrowd", "bbox", "area", "keypoints")
"""What the evaluation reads of them."""


def find_ignored(coco: dict, known: Known) -> list[dict]:
    """Sound annotations of crowds, and of persons without a labelled keypoint.

    A prediction that matches one of them is no false positive (pycocotools, ignore).
    """
    seen: dict[int, int] = {}
    found = []
    for position, annotation in enumerate(coco["annotations"]):
        if find_fault(annotation, position, known, seen) is not None:
            continue
        if annotation["category_id"] != known.person:
            continue
        if annotation["image_id"] not in known.images:
            continue
        crowd = annotation.get("iscrowd", 0)
        if crowd or not any(annotation["keypoints"][2::3]):
            annotation = annotation | {"iscrowd": crowd}
            found.append((position, {name: annotation[name] for name in FIELDS}))
    entries = as_arrays(found, known.images, known.keypoint_set)
    sound = np.isfinite(entries.keypoints).all(axis=(1, 2))
    sound &= np.isfinite(entries.boxes).all(axis=1) & np.isfinite(entries.areas)
    sound &= (entries.boxes[:, 2:] >= 0).all(axis=1) & (entries.areas >= 0)
    counts = entries.labelled.sum(axis=1)
    return [
        entries.annotations[i] | {"num_keypoints": int(counts[i])}
        for i in np.flatnonzero(sound)
    ]
