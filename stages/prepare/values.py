"""The rules about an annotation's values: keypoints, box and area, checked at once."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from plugins.datasets.keypoint_sets import KeypointSet
from stages.prepare.findings import Findings, shown


@dataclass(frozen=True)
class Entries:
    """Annotations of sound structure as arrays, in the order of the file.

    Attributes:
        keypoint_set: of all of them, with K keypoints.
        positions: ``(n,)``, in the file's list of annotations.
        keypoints: ``(n, K, 3)``: x and y in image px, and v = 0, 1 or 2.
        boxes: ``(n, 4)``: x, y, width and height in image px.
        areas: ``(n,)``, in image px squared.
        sizes: ``(n, 2)``: width and height of the image in px.
    """

    annotations: list[dict]
    keypoint_set: KeypointSet
    positions: np.ndarray
    keypoints: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    sizes: np.ndarray

    @property
    def labelled(self) -> np.ndarray:
        """``(n, K)``: which keypoints are labelled (v > 0)."""
        return self.keypoints[..., 2] > 0

    @property
    def reach(self) -> np.ndarray:
        """``(n,)``: px by which anything may lie outside: the image's longer side."""
        return self.sizes.max(axis=1)

    @property
    def outside(self) -> np.ndarray:
        """``(n, K)``: px by which a labelled keypoint lies outside its image."""
        xy, far = self.keypoints[..., :2], self.sizes[:, None]
        distance = np.maximum(-xy, xy - far).max(axis=-1)
        return np.where(self.labelled, distance.clip(min=0), 0)


def as_arrays(
    sound: list[tuple[int, dict]], images: dict[int, dict], keypoint_set: KeypointSet
) -> Entries:
    """Gather annotations (with their positions), whose values are all numbers."""
    annotations = [annotation for _, annotation in sound]
    sizes_of = [images[annotation["image_id"]] for annotation in annotations]
    return Entries(
        annotations,
        keypoint_set,
        np.array([position for position, _ in sound], dtype=int),
        _floats([a["keypoints"] for a in annotations]).reshape(
            -1, len(keypoint_set), 3
        ),
        _floats([a["bbox"] for a in annotations]).reshape(-1, 4),
        _floats([a["area"] for a in annotations]),
        _floats([[image["width"], image["height"]] for image in sizes_of]).reshape(
            -1, 2
        ),
    )


def _floats(values: list) -> np.ndarray:
    """As float64; whole numbers beyond its range become infinite."""
    try:
        return np.array(values, dtype=np.float64)
    except OverflowError:
        exact = np.array(values, dtype=object)
        return np.where(abs(exact) < 2**1000, exact, np.inf).astype(np.float64)


def check_values(entries: Entries, findings: Findings) -> np.ndarray:
    """Give ``(n,)``: which entries keep every rule about their values."""
    kept = np.ones(len(entries.annotations), dtype=bool)
    for kind, broken, explain in _keypoint_rules(entries) + _box_rules(entries):
        new = np.flatnonzero(broken & kept)
        if len(new):
            first, at = entries.annotations[new[0]], int(entries.positions[new[0]])
            message = f"annotation {first['id']}: {explain(new[0])}"
            findings.error(kind, at, message, count=len(new))
            kept[new] = False
    return kept


Rule = tuple[str, np.ndarray, Callable[[int], str]]
"""Kind, ``(n,)`` where it is broken, and the message for an entry."""


def _keypoint_rules(e: Entries) -> list[Rule]:
    v, reach = e.keypoints[..., 2], e.reach
    return [
        (
            "keypoints not finite",
            ~np.isfinite(e.keypoints).all(axis=(1, 2)),
            lambda i: (
                f"keypoint {_first(~np.isfinite(e.keypoints[i]).all(axis=1), e, i)}: "
                "expected finite numbers; correct it, or set x, y, v to 0"
            ),
        ),
        (
            "bad visibility",
            ~np.isin(v, (0, 1, 2)).all(axis=1),
            lambda i: (
                f"keypoint {_first(~np.isin(v[i], (0, 1, 2)), e, i)}: v must be "
                "0 (not labelled), 1 (hidden) or 2 (visible)"
            ),
        ),
        (
            "no visible keypoint",
            ~e.labelled.any(axis=1),
            lambda i: "no keypoint is labelled (v > 0), so there is no pose to learn",
        ),
        (
            "keypoint far outside the image",
            (e.outside > reach[:, None]).any(axis=1),
            lambda i: (
                f"keypoint {_first(e.outside[i] > reach[i], e, i)} lies farther "
                f"outside its image ({_size(e.sizes[i])} px) than the image is long"
            ),
        ),
    ]


def _box_rules(e: Entries) -> list[Rule]:
    start, end = e.boxes[:, :2], e.boxes[:, :2] + e.boxes[:, 2:]
    apart = ((end <= 0) | (start >= e.sizes)).any(axis=1)
    far = np.maximum(-start, end - e.sizes).max(axis=1) > e.reach
    return [
        (
            "bad box",
            ~np.isfinite(e.boxes).all(axis=1),
            lambda i: f"bbox {_shown_box(e, i)} holds NaN or Infinity",
        ),
        (
            "empty box",
            (e.boxes[:, 2:] <= 0).any(axis=1),
            lambda i: (
                f"bbox {_shown_box(e, i)} is empty; expected x, y, width, height with "
                "width and height above 0 px"
            ),
        ),
        (
            "box outside the image",
            apart | far,
            lambda i: (
                f"bbox {_shown_box(e, i)} (x, y, width, height) lies outside its image "
                f"({_size(e.sizes[i])} px), or reaches farther out than it is long"
            ),
        ),
        (
            "bad area",
            ~(np.isfinite(e.areas) & (e.areas > 0)),
            lambda i: area_message(e.annotations[i]["area"]),
        ),
    ]


def area_message(area: object) -> str:
    """What is wrong with an area, whatever its type."""
    return (
        f"area is {shown(area)}, expected a number above 0 in px squared (OKS "
        "divides by it)"
    )


def _first(wrong: np.ndarray, entries: Entries, index: int) -> str:
    """Name and values of the first keypoint of an entry that is ``wrong``, (K,)."""
    keypoint = int(wrong.argmax())
    values = entries.annotations[index]["keypoints"][3 * keypoint : 3 * keypoint + 3]
    name = entries.keypoint_set.names[keypoint]
    return f"{name} (x, y, v = {shown(values)[1:-1]})"


def _shown_box(entries: Entries, index: int) -> str:
    return shown(entries.annotations[index]["bbox"])


def _size(size: np.ndarray) -> str:
    return f"{size[0]:.0f} x {size[1]:.0f}"


def warn(entries: Entries, kept: np.ndarray, findings: Findings) -> None:
    """Count what is kept although it is unusual, and what is corrected."""
    start, end = entries.boxes[:, :2], entries.boxes[:, :2] + entries.boxes[:, 2:]
    leaving = ((start < 0) | (end > entries.sizes)).any(axis=1)
    stated = [annotation.get("num_keypoints") for annotation in entries.annotations]
    counts = entries.labelled.sum(axis=1)
    wrong = np.array([a != b for a, b in zip(stated, counts, strict=True)], dtype=bool)
    findings.warnings += Counter(
        {
            "labelled keypoints outside the image": int(
                (entries.outside[kept] > 0).sum()
            ),
            "boxes partly outside the image": int(leaving[kept].sum()),
            "num_keypoints corrected": int(wrong[kept].sum()),
        }
    )
