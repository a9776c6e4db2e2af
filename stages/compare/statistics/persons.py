"""Annotated persons of a dataset, and the poses that a cell predicts for them."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from plugins.datasets.keypoint_sets import KeypointSet, find_set
from plugins.datasets.prepared import Entries, open_truth
from stages.files import StageError


@dataclass(frozen=True)
class Truth:
    """The annotated persons of one split, image by image.

    Attributes:
        images: ``(I,)`` ids of all images, ascending.
        image: ``(G,)`` place of each person's image in ``images``, ascending.
        annotation_id: ``(G,)``.
        keypoints: ``(G, K, 2)`` in image px.
        labelled: ``(G, K)`` bool.
        crowd: ``(G,)`` bool: several people, who are ignored.
        area: ``(G,)`` in image px squared.
        bbox: ``(G, 4)`` x, y, w, h in image px.
        head: ``(G,)`` size in image px, by which PCKh counts; NaN where there is none.
        keypoint_set: names and sigmas.
        data_hash: of the prepared dataset.
    """

    images: np.ndarray
    image: np.ndarray
    annotation_id: np.ndarray
    keypoints: np.ndarray
    labelled: np.ndarray
    crowd: np.ndarray
    area: np.ndarray
    bbox: np.ndarray
    head: np.ndarray
    keypoint_set: KeypointSet
    data_hash: str

    @property
    def variance(self) -> np.ndarray:
        """``(2 sigma)^2`` of each keypoint, ``(K,)``: pycocotools' ``vars``."""
        return (2 * np.array(self.keypoint_set.sigmas)) ** 2


@dataclass(frozen=True)
class Poses:
    """Predicted persons that are submitted to COCO's evaluation, best first by image.

    Attributes:
        image: ``(D,)`` place of each one's image in ``Truth.images``, ascending.
        keypoints: ``(D, K, 2)`` in image px.
        score: ``(D,)`` of the person.
        row: ``(D,)`` its place in predictions.npz.
    """

    image: np.ndarray
    keypoints: np.ndarray
    score: np.ndarray
    row: np.ndarray

    @property
    def area(self) -> np.ndarray:
        """Of the box around the keypoints, as pycocotools' ``loadRes`` has it."""
        sides = self.keypoints.max(axis=1) - self.keypoints.min(axis=1)
        return sides.prod(axis=1)

    def moved(self, keypoints: np.ndarray) -> "Poses":
        """The same persons with other keypoints ``(D, K, 2)``."""
        return replace(self, keypoints=keypoints)


def read_truth(folder: Path, boxes: str) -> Truth:
    """Read what a prepared dataset's split val is compared with in a kind of boxes.

    Raises:
        StageError: the dataset is missing or not as it was prepared.
    """
    try:
        with Entries(folder, "val") as entries:
            keypoint_set = find_set(entries.keypoint_set)
            data_hash = entries.data_hash
        return make_truth(open_truth(folder, boxes), keypoint_set, data_hash)
    except ValueError as error:
        raise StageError(str(error)) from None


def make_truth(coco: dict, keypoint_set: KeypointSet, data_hash: str = "") -> Truth:
    """Bring COCO's ``images`` and ``annotations`` into arrays."""
    images = np.unique([image["id"] for image in coco["images"]])
    persons = coco["annotations"]
    image = np.searchsorted(images, [person["image_id"] for person in persons])
    order = np.argsort(image, kind="stable")
    shape = (len(persons), len(keypoint_set.names), 3)
    triplets = np.array([p["keypoints"] for p in persons], float).reshape(shape)[order]
    return Truth(
        images=images,
        image=image[order],
        annotation_id=np.array([p["id"] for p in persons])[order],
        keypoints=triplets[..., :2],
        labelled=triplets[..., 2] > 0,
        crowd=np.array([bool(p.get("iscrowd")) for p in persons])[order],
        area=np.array([p["area"] for p in persons], float)[order],
        bbox=np.array([p["bbox"] for p in persons], float).reshape(-1, 4)[order],
        head=np.array([p.get("head_size", np.nan) for p in persons], float)[order],
        keypoint_set=keypoint_set,
        data_hash=data_hash,
    )
