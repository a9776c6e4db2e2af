"""Annotated persons and poses of any quality, for tests of what compares them."""

import io
import json
from contextlib import redirect_stdout

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from plugins.datasets.keypoint_sets import COCO17
from stages.compare.statistics.persons import Poses, Truth, make_truth

SIGMAS = np.array(COCO17.sigmas)


def make_coco(images: int, draw: np.random.Generator, most: int = 5) -> dict:
    """COCO annotations: 0 to ``most`` persons in an image, some unlabelled or crowds.

    Ids are in no order; areas lie in all of COCO's ranges.
    """
    ids = draw.permutation(10 * images)[:images].tolist()
    persons: list[dict] = []
    for image in ids:
        for _ in range(draw.integers(0, most + 1)):
            side = np.exp(draw.uniform(np.log(20), np.log(200)))
            points = draw.uniform(50, 400, 2) + draw.normal(0, side / 3, (17, 2))
            visible = draw.choice([0, 1, 2], 17, p=[0.3, 0.1, 0.6])
            visible *= draw.random() > 0.1
            low, high = points.min(axis=0), points.max(axis=0)
            triplets = np.column_stack([points, visible]) * (visible > 0)[:, None]
            person = {"id": len(persons) + 1, "image_id": image, "category_id": 1}
            crowd = int(draw.random() < 0.1)
            person |= {"iscrowd": crowd, "area": float(side**2)}
            person |= {"bbox": [*low.tolist(), *(high - low).tolist()]}
            person |= {"keypoints": triplets.ravel().tolist()}
            person |= {"num_keypoints": int((visible > 0).sum())}
            persons.append(person)
    draw.shuffle(persons)
    category = {"id": 1, "name": "person"}
    entries = [{"id": image} for image in ids]
    return {"images": entries, "annotations": persons, "categories": [category]}


def make_poses(
    truth: Truth,
    draw: np.random.Generator,
    spread: float = 0.1,
    repeated: float = 0.2,
    ties: bool = True,
) -> Poses:
    """A pose for each person, off by up to ``spread`` of its size, some twice.

    Scores tie now and then, as those of poor networks do at 0, unless told not to.
    """
    places = np.arange(len(truth.image))
    places = np.sort(np.append(places, places[draw.random(len(places)) < repeated]))
    off = np.sqrt(truth.area[places]) * draw.uniform(0.01, spread, len(places))
    noise = draw.normal(size=(len(places), 17, 2)) * off[:, None, None]
    score = draw.random(len(places)).astype(np.float32)
    score[(draw.random(len(places)) < 0.3) & ties] = draw.choice([0, 0.5])
    points = truth.keypoints[places] + noise
    order = np.lexsort((-score, truth.image[places]))
    row = np.arange(len(places))
    return Poses(truth.image[places][order], points[order], score[order], row)


def make_both(images: int, seed: int = 0, **how) -> tuple[dict, Truth, Poses]:
    """Annotations, the same as arrays, and poses."""
    draw = np.random.default_rng(seed)
    coco = make_coco(images, draw)
    truth = make_truth(coco, COCO17)
    return coco, truth, make_poses(truth, draw, **how)


def run_cocoeval(
    coco: dict, truth: Truth, poses: Poses, images: np.ndarray | None = None
) -> COCOeval:
    """pycocotools' evaluation, of drawn images where ``images`` gives their places.

    An image that is drawn twice becomes two images, one after the other.
    """
    drawn = np.arange(len(truth.images)) if images is None else np.sort(images)
    of_image = {int(image): [] for image in truth.images}
    for person in coco["annotations"]:
        of_image[person["image_id"]].append(person)
    persons, results = [], []
    for new, place in enumerate(drawn.tolist()):
        for person in of_image[int(truth.images[place])]:
            persons.append(person | {"image_id": new, "id": len(persons) + 1})
        for pose in np.flatnonzero(poses.image == place):
            triplets = np.column_stack([poses.keypoints[pose], np.ones(17)])
            result = {"image_id": new, "category_id": 1}
            result |= {"keypoints": triplets.ravel().tolist()}
            results.append(result | {"score": float(poses.score[pose])})
    entries = [{"id": new} for new in range(len(drawn))]
    with redirect_stdout(io.StringIO()):
        dataset = COCO()
        dataset.dataset = json.loads(
            json.dumps(coco | {"images": entries, "annotations": persons})
        )
        dataset.createIndex()
        evaluation = COCOeval(dataset, dataset.loadRes(results), "keypoints")
        evaluation.params.kpt_oks_sigmas = SIGMAS
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation
