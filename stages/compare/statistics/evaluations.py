"""What a finished cell predicts, decoder by decoder, beside the annotated persons."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from plugins.datasets.crop_store import CropStore
from plugins.metrics.keypoints import correct_keypoints, distances
from plugins.metrics.submission import person_scores, suppress
from stages.compare.rows import Results
from stages.compare.statistics.persons import Poses, Truth, read_truth
from stages.files import StageError

PREDICTIONS = {"gt": "predictions.npz", "detections": "predictions_detections.npz"}
"""File of a cell for each kind of boxes."""
TOLERANCE = 0.05
"""AP by which a file may differ from its cell's metrics.csv: it holds float32."""


@dataclass(frozen=True)
class Pairs:
    """Predictions in ground-truth boxes, whose person is known without matching.

    Attributes:
        person: ``(N,)`` place of each one in `Truth`.
        keypoints: ``(N, K, 2)`` in image px.
        score: ``(N,)`` of the person.
        error: ``(N, K)`` distance in input px.
        correct: ``(N, K)`` bool, PCK.
        heads: ``(N, K)`` distance in sizes of the head; NaN where there are none.
    """

    person: np.ndarray
    keypoints: np.ndarray
    score: np.ndarray
    error: np.ndarray
    correct: np.ndarray
    heads: np.ndarray


@dataclass(frozen=True)
class Evaluation:
    """One decoder of one cell, in one kind of boxes.

    Attributes:
        key, decoder, boxes: which one.
        own: whether it is the method's own decoder.
        truth: the persons of the cell's data.
        poses: what is submitted to COCO's evaluation.
        pairs: None where the boxes are a detector's.
    """

    key: str
    decoder: str
    boxes: str
    own: bool
    truth: Truth
    poses: Poses
    pairs: Pairs | None


def evaluations(results: Results) -> Iterator[Evaluation]:
    """Every row of metrics.csv whose predictions and annotations are at hand.

    Raises:
        StageError: a file is unreadable or is not what its row was measured on.
    """
    truth_of = lru_cache(maxsize=2)(read_truth)
    for (key, boxes), rows in results.rows.groupby(["key", "boxes"], sort=False):
        cell = results.cells[key]
        data = results.root / "data" / cell["data"]
        path = results.root / "results" / "cells" / key / PREDICTIONS[boxes]
        if not (path.exists() and (data / "manifest.json").exists()):
            continue
        folder = Path("data/stores") / cell["store"]
        if boxes == "detections":
            folder = Path(cell["detections"])
        store = _open_store(results.root / folder / "val")
        file = _Predictions(path, key, cell["evaluate"].get("box_threshold", 0.0))
        truth = truth_of(data, boxes)
        for row in rows.itertuples():
            if row.data_hash != truth.data_hash:
                raise StageError(
                    f"{key} was evaluated on data {row.data_hash}, {data} now holds "
                    f"{truth.data_hash}: bring the cell up to date with dvc repro"
                )
            yield file.evaluation(row, truth, store)


class _Predictions:
    """One file of predictions, all of its decoders."""

    def __init__(self, path: Path, key: str, box_threshold: float) -> None:
        self.path, self.remedy = path, f"run python -m stages.evaluate {key} again"
        self.box_threshold = box_threshold
        try:
            with np.load(path, allow_pickle=False) as file:
                self.columns = {name: file[name] for name in file.files}
        except (OSError, ValueError) as error:
            raise StageError(f"{path}: {error}; {self.remedy}") from None

    def evaluation(self, row, truth: Truth, store: CropStore) -> Evaluation:
        """The decoder of a row of metrics.csv."""
        try:
            place = self.columns["decoders"].tolist().index(row.decoder)
            keypoints = self.columns["keypoints"][place].astype(float)
            score = person_scores(self.columns["scores"][place]) * store.box_score
            image = self._places(self.columns["image_id"], truth.images)
            pairs = None
            if row.boxes == "gt":
                ids = self.columns["annotation_id"]
                person = self._places(ids, truth.annotation_id)
                pairs = _pair(person, keypoints, score, truth, store)
            elif not np.array_equal(self.columns["bbox"], store.bbox):
                raise ValueError("its boxes are not those of the crop store")
        except (KeyError, ValueError) as error:
            raise StageError(f"{self.path}: {error}; {self.remedy}") from None
        rows = np.flatnonzero(store.box_score >= self.box_threshold)
        columns = (image, keypoints, score, store.box_area)
        sigmas = truth.keypoint_set.sigmas
        rows = rows[suppress(*(column[rows] for column in columns), sigmas)]
        return Evaluation(
            key=row.key,
            decoder=row.decoder,
            boxes=row.boxes,
            own=row.own_decoder,
            truth=truth,
            poses=Poses(image[rows], keypoints[rows], score[rows], rows),
            pairs=pairs,
        )

    def _places(self, ids: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Places of ids in those of the dataset, which need not be sorted."""
        order = np.argsort(known)
        place = order[np.searchsorted(known, ids, sorter=order) % len(known)]
        strangers = ids[known[place] != ids]
        if len(strangers):
            raise ValueError(f"id {strangers[0]} is not in the prepared dataset")
        return place


def _pair(
    person: np.ndarray,
    keypoints: np.ndarray,
    score: np.ndarray,
    truth: Truth,
    store: CropStore,
) -> Pairs:
    """Errors as evaluate has them; the store says how large an input pixel is."""
    if not np.array_equal(truth.annotation_id[person], store.annotation_id):
        raise ValueError("its persons are not those of the crop store, in its order")
    offset = keypoints - truth.keypoints[person]
    pixel = store.to_image[:, [0, 1], [0, 1]] * store.geometry.oversample
    distance = distances(keypoints, truth.keypoints[person])
    return Pairs(
        person=person,
        keypoints=keypoints,
        score=score,
        error=np.linalg.norm(offset / pixel[:, None], axis=-1),
        correct=correct_keypoints(distance, truth.bbox[person]),
        heads=distance / truth.head[person][:, None],
    )


def _open_store(folder: Path) -> CropStore:
    try:
        return CropStore(folder)
    except ValueError as error:
        raise StageError(str(error)) from None
