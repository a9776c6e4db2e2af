"""What is annotated: keypoints and what hides them, boxes and areas from the mask."""

import numpy as np

from plugins.datasets.keypoint_sets import COCO17

from .body import Person
from .camera import Camera
from .imaging import SAMPLES, View

MIN_AREA = 32**2
"""Smallest visible mask that is annotated, px; COCO's bound of a medium object."""
MIN_SEEN = 5
"""Fewest visible keypoints of a person who is annotated."""
TOLERANCE = 1.4
"""A keypoint is seen if what its ray meets lies at most this many of its radii before
it: then it is the surface around the keypoint itself."""

CATEGORY = COCO17.category


def masks(view: View, count: int) -> np.ndarray:
    """Visible masks (count, h, w) bool, none of which overlap.

    A pixel is a person's who fills more than half of it, or half of it with its first
    sample: areas are then neither too large nor too small on average.
    """
    height, width = (side // SAMPLES for side in view.owner.shape)
    blocks = view.owner.reshape(height, SAMPLES, width, SAMPLES)
    found = [
        2 * (blocks == n).sum(axis=(1, 3)) + (blocks[:, 0, :, 0] == n) > SAMPLES**2
        for n in range(count)
    ]
    return np.stack(found)


def visibility(person: Person, camera: Camera, view: View) -> np.ndarray:
    """COCO visibility (17,): 2 seen, 1 hidden by anything, 0 outside the image."""
    points, depth = camera.project(person.keypoints)
    width, height = camera.size
    inside = ((points >= -0.5) & (points < np.array([width, height]) - 0.5)).all(axis=1)
    sample = np.rint((points + 0.5) * SAMPLES - 0.5).astype(int)
    around = np.array([(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1)])
    sample = sample[:, None] + around
    sample = np.clip(sample, 0, np.array(view.depth.shape)[::-1] - 1)
    met = view.depth[sample[..., 1], sample[..., 0]]
    near = met >= (depth - TOLERANCE * person.radii)[:, None]
    seen = near.sum(axis=1) * 2 > len(around)
    return np.where(inside, np.where(seen, 2, 1), 0)


def annotate(
    person: Person,
    mask: np.ndarray,
    camera: Camera,
    view: View,
    rng: np.random.Generator,
    settings: dict,
) -> dict:
    """One person's annotation in COCO's format, without ids.

    Keypoints are image pixels with pixel centres at integers. The box is that of the
    mask as pycocotools has it: first column and row, width and height in pixels. Some
    hidden keypoints are left unlabelled, as annotators do where they cannot guess.

    Args:
        person: whom.
        mask: (h, w) bool, not empty.
        camera, view: how the person is seen.
        rng: draws which hidden keypoints are unlabelled.
        settings: ``unlabelled_face`` and ``unlabelled_body`` are the shares.
    """
    visible = visibility(person, camera, view)
    share = np.full(len(visible), settings["unlabelled_body"])
    share[:5] = settings["unlabelled_face"]
    visible[(visible == 1) & (rng.random(len(visible)) < share)] = 0
    points, _ = camera.project(person.keypoints)
    points = np.where(visible[:, None] > 0, np.round(points, 3), 0.0)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    triples = zip(points.tolist(), visible.tolist(), strict=True)
    return {
        "category_id": 1,
        "iscrowd": 0,
        "bbox": [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1],
        "area": int(mask.sum()),
        "num_keypoints": int((visible > 0).sum()),
        "keypoints": [value for (x, y), v in triples for value in (x, y, v)],
    }
