"""Boxes of a detector: checked, cut, scored as COCO's own evaluation scores them."""

import io
import json
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from plugins.datasets.crop_store import CropStore
from plugins.datasets.keypoint_sets import COCO17
from plugins.datasets.prepared import open_split, open_truth
from plugins.hooks.states import save_checkpoint
from plugins.metrics.coco import COCO_STATS
from plugins.model import build_model
from stages.downsample import downsample
from stages.evaluate import detections as detected
from stages.evaluate.__main__ import evaluate
from stages.files import StageError, hash_of
from stages.plan import plan
from stages.prepare import prepare
from stages.prepare.detections import MOST_BOXES
from tests.coco_folder import write_coco_folder
from tests.conftest import STORE

EMPTY, CROWD, UNLABELLED = 90, 900, 901
"""Image without a person; annotations that COCO's evaluation ignores."""
GT, BOXES = "data/stores/boxes-32x24", "data/stores/boxes-32x24-detections"


def settings(root: Path, **changes) -> dict:
    found = {"annotations": None, "images": None}
    return {
        "name": "boxes", "source": "coco_dir", "root": str(root), "strict": False,
        "train": found, "val": found, "detections": str(root / "detections.json"),
    } | changes  # fmt: skip


def write_source(root: Path) -> Path:
    """A COCO folder with all that val2017 has, and detections of it.

    Every person is found twice, the second time a little moved; on every image is one
    box of nobody, and one of a cat.
    """
    write_coco_folder(root, {"train": 4, "val": 12})
    path = root / "annotations/val.json"
    coco = json.loads(path.read_text())
    Image.new("RGB", (160, 120), (90, 120, 60)).save(root / "val/empty.jpg")
    coco["images"].append(
        {"id": EMPTY, "file_name": "empty.jpg", "width": 160, "height": 120}
    )
    nobody = {"category_id": 1, "keypoints": [0] * 51, "num_keypoints": 0}
    first, last = coco["images"][0]["id"], coco["images"][-2]["id"]
    coco["annotations"] += [
        nobody | {"id": CROWD, "image_id": first, "iscrowd": 1}
        | {"bbox": [0, 60, 160, 60], "area": 9600},
        nobody | {"id": UNLABELLED, "image_id": last, "iscrowd": 0}
        | {"bbox": [100, 10, 50, 80], "area": 2000},
    ]  # fmt: skip
    path.write_text(json.dumps(coco))
    rng = np.random.default_rng(0)
    found = []
    for person in coco["annotations"][:-2]:
        for scale in (0, 3):
            box = person["bbox"] + scale * rng.normal(size=4)
            found.append((person["image_id"], 1, box.tolist(), rng.uniform(0.3, 1)))
    for image in coco["images"]:
        found.append((image["id"], 1, [90, 50, 50.5, 60], rng.uniform(0, 0.9)))
        found.append((image["id"], 17, [10, 10, 30, 30], 0.9))
    names = ("image_id", "category_id", "bbox", "score")
    entries = [dict(zip(names, row, strict=True)) for row in found]
    (root / "detections.json").write_text(json.dumps(entries))
    return root


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """A folder with data/boxes and its two stores at 32x24."""
    root = tmp_path_factory.mktemp("detections")
    write_source(root / "photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        prepare(settings(Path("photos")), Path("data/boxes"), 1)
        cut = STORE | {"data": "boxes", "size": "32x24"}
        downsample(cut, Path(GT), 1)
        downsample(cut | {"boxes": "detections"}, Path(BOXES), 1)
    return root


@pytest.fixture
def source(tmp_path) -> Path:
    return write_source(tmp_path / "photos")


def rewrite(root: Path, change) -> None:
    path = root / "detections.json"
    entries = json.loads(path.read_text())
    path.write_text(json.dumps(change(entries)))


# prepare


def test_boxes_are_a_split_of_their_own(work):
    manifest = json.loads((work / "data/boxes/manifest.json").read_text())
    part = manifest["splits"]["val_detections"]
    assert part["persons"] == 2 * 12 + 7 and part["images"] == 7
    assert part["skipped"] == {"box of another category": 7}
    split = open_split(work / "data/boxes", "val_detections").coco
    scores = {}
    for box in split["annotations"]:
        scores.setdefault(box["image_id"], []).append(box["box_score"])
    assert all(list(s) == sorted(s, reverse=True) for s in scores.values())
    assert EMPTY in scores


def test_they_do_not_change_what_is_trained_on(work, tmp_path):
    without = settings(work / "photos", detections=None)
    manifest = prepare(without, tmp_path / "data/boxes", 1)
    assert set(manifest["splits"]) == {"train", "val"}
    assert manifest["data_hash"] == open_split(work / "data/boxes", "val").data_hash


def test_the_truth_has_what_the_evaluation_ignores(work):
    original = json.loads((work / "photos/annotations/val.json").read_text())
    truth = open_truth(work / "data/boxes", "detections")
    ids = [{a["id"] for a in coco["annotations"]} for coco in (original, truth)]
    assert ids[0] == ids[1] and {CROWD, UNLABELLED} < ids[1]
    images = [{a["id"] for a in coco["images"]} for coco in (original, truth)]
    assert images[0] == images[1]
    annotated = open_truth(work / "data/boxes")
    assert EMPTY not in {image["id"] for image in annotated["images"]}
    prepared = open_split(work / "data/boxes", "val").coco["annotations"]
    assert not {CROWD, UNLABELLED} & {a["id"] for a in prepared}


def test_boxes_of_other_images_are_counted(source, tmp_path):
    rewrite(source, lambda e: [*e, e[0] | {"image_id": 4711}])
    part = prepare(settings(source), tmp_path / "out", 1)["splits"]["val_detections"]
    assert part["skipped"]["box on an image that val lacks"] == 1
    rewrite(source, lambda e: [e[0] | {"image_id": 4711}])
    with pytest.raises(StageError, match=r"detections.json: no person is left in val_"):
        prepare(settings(source), tmp_path / "other", 1)


def test_boxes_of_an_image_are_bounded(source, tmp_path):
    best = [{"score": 0.5 + n / 1000} for n in range(MOST_BOXES)]
    rewrite(source, lambda e: e[:1] * 5 + [e[0] | score for score in best])
    manifest = prepare(settings(source), tmp_path / "out", 1)
    part = manifest["splits"]["val_detections"]
    assert part["persons"] == MOST_BOXES
    assert part["skipped"] == {"box beyond the best of its image": 5}


FAULTS = {
    "no object": (lambda e: 5, r"\[2\]: is 5, expected an object"),
    "no image": (lambda e: e | {"image_id": "7"}, r"\[2\]: image_id is '7'"),
    "score": (lambda e: e | {"score": 1.5}, r"\[2\]: score is 1.5, expected 0 to 1"),
    "nan": (lambda e: e | {"score": float("nan")}, r"\[2\]: score is nan"),
    "box of three": (lambda e: e | {"bbox": [1, 2, 3]}, r"\[2\]: bbox is \[1, 2, 3\]"),
    "empty box": (lambda e: e | {"bbox": [1, 2, 0, 5]}, r"\[2\]: bbox is .*above 0"),
    "huge": (lambda e: e | {"bbox": [1, 2, 10**400, 5]}, r"\[2\]: bbox is"),
    "outside": (lambda e: e | {"bbox": [500, 2, 5, 5]}, r"\[2\]: bbox .* lies outside"),
    "vast": (lambda e: e | {"bbox": [0, 0, 5000, 5]}, r"\[2\]: bbox .* lies outside"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_detection_is_named(source, tmp_path, fault):
    spoil, says = FAULTS[fault]
    rewrite(source, lambda e: [*e[:2], spoil(e[2]), *e[3:]])
    remove_nobody(source)
    with pytest.raises(StageError, match=rf"detections.json: {says}"):
        prepare(settings(source, strict=True), tmp_path / "out", 1)
    assert not (tmp_path / "out").exists()
    lenient = prepare(settings(source), tmp_path / "out", 1)["splits"]["val_detections"]
    assert sum(lenient["skipped"].values()) == 7 + 1


def remove_nobody(root: Path) -> None:
    """What is an error in strict data: a person without a labelled keypoint."""
    path = root / "annotations/val.json"
    coco = json.loads(path.read_text())
    coco["annotations"] = [a for a in coco["annotations"] if a["id"] != UNLABELLED]
    path.write_text(json.dumps(coco))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read: No such file"),
        ("{", "not valid JSON"),
        ('{"annotations": []}', "is dict; expected a list of detections"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_a_file_of_something_else_is_refused(source, tmp_path, content, says):
    path = source / "detections.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(StageError, match=f"detections.json: {says}"):
        prepare(settings(source), tmp_path / "out", 1)


def test_a_file_that_would_be_replaced_is_refused(source, tmp_path):
    (tmp_path / "out").mkdir()
    inside = (source / "detections.json").rename(tmp_path / "out/detections.json")
    with pytest.raises(StageError, match="which this stage replaces"):
        prepare(settings(source, detections=str(inside)), tmp_path / "out", 1)
    assert inside.exists()


# downsample


def test_the_same_box_gives_the_same_crop(work):
    annotated, found = CropStore(work / GT / "val"), CropStore(work / BOXES / "val")
    assert not (work / BOXES / "train").exists()
    assert len(found) == 2 * 12 + 7 and set(annotated.box_score) == {1.0}
    assert 0 < found.box_score.min() < found.box_score.max() < 1
    assert not found.visible.any()
    same = 0
    for crop, box in zip(annotated.crops, annotated.bbox, strict=True):
        for row in np.flatnonzero((found.bbox == box).all(1)):
            np.testing.assert_array_equal(found.crops[row], crop)
            same += 1
    assert same == 12


# evaluate


@pytest.fixture
def cell(work, monkeypatch, compose_cell, tmp_path) -> tuple[dict, Path]:
    """A cell of random weights; its predictions are the truth with noise."""
    monkeypatch.chdir(work)
    composed = compose_cell("size=32x24", "schedule=smoke", "method=dark")
    evaluation = composed["evaluate"] | {"boxes": "detections"}
    names = {"data": "boxes", "store": "boxes-32x24", "detections": BOXES}
    composed = composed | names | {"evaluate": evaluation}
    store = CropStore(work / GT / "val")
    torch.manual_seed(0)
    model = build_model(composed["train"], COCO17, store.geometry)
    checkpoint = {"config_hash": hash_of(composed["train"])}
    checkpoint |= {"data_hash": store.data_hash, "state_dict": model.state_dict()}
    save_checkpoint(checkpoint, tmp_path / "checkpoint.pth")
    return composed, tmp_path / "checkpoint.pth"


@pytest.fixture
def plausible(work, monkeypatch):
    """Predict each box's nearest person with noise, in place of a trained network."""
    truth = CropStore(work / GT / "val")
    poses = truth.to_image_pixels(truth.input_keypoints)
    centres = truth.bbox[:, :2] + truth.bbox[:, 2:] / 2

    def guess(model, store, decoders, settings):
        rng = np.random.default_rng(len(store))
        middle = store.bbox[:, :2] + store.bbox[:, 2:] / 2
        apart = np.linalg.norm(middle[:, None] - centres, axis=-1)
        apart[store.image_id[:, None] != truth.image_id] = np.inf
        nearest = apart.argmin(1)
        found = {}
        for number, name in enumerate(decoders):
            noise = rng.uniform(0.2, 2 + number, (len(store), 1, 1))
            keypoints = poses[nearest] + noise * rng.normal(size=(len(store), 17, 2))
            scores = rng.random((len(store), 17))
            found[name] = keypoints.astype(np.float32), scores.astype(np.float32)
        return found, dict.fromkeys(["network", *decoders], 1.0), None

    monkeypatch.setattr("stages.evaluate.annotated.predict", guess)
    monkeypatch.setattr(detected, "predict", guess)


def test_ap_is_pycocotools_on_the_original_annotations(work, cell, plausible, tmp_path):
    """Results written from the predictions' files alone, by the protocol's text."""
    frame = evaluate("cell", *cell, tmp_path / "results")
    files = {"gt": "predictions.npz", "detections": "predictions_detections.npz"}
    stores = {"gt": CropStore(work / GT / "val"), "detections": None}
    assert set(frame["boxes"]) == set(files)
    for boxes, name in files.items():
        with np.load(tmp_path / "results" / name) as found:
            found = dict(found)
        if stores[boxes] is not None:
            found["bbox"], found["box_score"] = stores[boxes].bbox, np.ones(12)
        for number, decoder in enumerate(found["decoders"]):
            results = as_results(found, number)
            direct = pycocotools(work / "photos/annotations/val.json", results)
            row = frame[(frame["boxes"] == boxes) & (frame["decoder"] == decoder)]
            assert 5 < row["AP"].item() < 95
            for stat, value in zip(COCO_STATS, direct, strict=True):
                assert value < 0 or row[stat].item() == pytest.approx(
                    100 * value, abs=1e-6
                ), (boxes, decoder, stat)


def as_results(found: dict, decoder: int) -> list[dict]:
    """COCO results: score rule and OKS-NMS, one pose after the other."""
    results, kept = [], []
    for row, image in enumerate(found["image_id"]):
        points = found["keypoints"][decoder, row].astype(float)
        scores = found["scores"][decoder, row].astype(float)
        good = [s for s in scores if s > 0.2]
        score = sum(good) / len(good) * found["box_score"][row]
        _, _, width, height = found["bbox"][row]
        side = 1.25 * max(height, width / 0.75)
        pose = {"image_id": int(image), "category_id": 1, "score": float(score)}
        pose["keypoints"] = np.column_stack((points, scores)).ravel().tolist()
        results.append((pose, points, 0.75 * side**2))
    for pose, points, area in sorted(results, key=lambda r: -r[0]["score"]):
        rivals = [k for k in kept if k[0]["image_id"] == pose["image_id"]]
        if all(similarity(points, area, p, a) <= 0.9 for _, p, a in rivals):
            kept.append((pose, points, area))
    return [pose for pose, _, _ in kept]


def similarity(p, area_p, q, area_q) -> float:
    """OKS of two poses."""
    variance = (2 * np.array(COCO17.sigmas)) ** 2
    squares = ((p - q) ** 2).sum(1)
    return float(np.exp(-squares / variance / (area_p + area_q)).mean())


def pycocotools(annotations: Path, results: list[dict]) -> np.ndarray:
    with redirect_stdout(io.StringIO()):
        truth = COCO(annotations)
        evaluation = COCOeval(truth, truth.loadRes(results), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[:6]


def test_both_kinds_of_boxes_have_rows(cell, tmp_path):
    frame = evaluate("cell", *cell, tmp_path / "results")
    written = pd.read_csv(tmp_path / "results/metrics.csv")
    pairs = written.groupby("boxes")["decoder"].apply(list)
    assert pairs["gt"] == pairs["detections"] and list(written["boxes"])[0] == "gt"
    assert (written.groupby("boxes")["own_decoder"].sum() == 1).all()
    assert frame[frame["boxes"] == "detections"]["PCK"].isna().all()
    with np.load(tmp_path / "results/predictions_detections.npz") as found:
        assert found["keypoints"].shape == (len(pairs["gt"]), 31, 17, 2)
        assert found["box_score"].shape == found["image_id"].shape == (31,)
        assert found["scores"].shape == (len(pairs["gt"]), 31, 17)


def test_rows_of_annotated_boxes_do_not_depend_on_detections(cell, tmp_path):
    both = evaluate("cell", *cell, tmp_path / "both")
    alone = cell[0] | {"evaluate": cell[0]["evaluate"] | {"boxes": "gt"}}
    alone = evaluate("cell", alone, cell[1], tmp_path / "alone")
    assert not (tmp_path / "alone/predictions_detections.npz").exists()
    columns = [*COCO_STATS, "PCK", "error_px"]
    both = both[both["boxes"] == "gt"][columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(both, alone[columns])


def test_weak_boxes_can_be_left_out(cell, plausible, tmp_path):
    recalls = []
    for threshold in (0.0, 0.8, 1.0):
        settings = cell[0]["evaluate"] | {"box_threshold": threshold}
        other = cell[0] | {"evaluate": settings}
        frame = evaluate("cell", other, cell[1], tmp_path / f"results{threshold}")
        own = frame[(frame["boxes"] == "detections") & frame["own_decoder"]]
        recalls.append(own["AR"].item())
    assert recalls[0] > recalls[1] > recalls[2] == 0


def test_crops_of_other_data_are_refused(cell, tmp_path):
    other = cell[0] | {"detections": "data/stores/nowhere"}
    with pytest.raises(StageError, match="python -m stages.downsample nowhere"):
        evaluate("cell", other, cell[1], tmp_path / "results")
    path = Path(BOXES, "manifest.json")
    before = path.read_text()
    try:
        path.write_text(json.dumps(json.loads(before) | {"data_hash": "0" * 12}))
        with pytest.raises(StageError, match=r"data_hash is 0+, .* expected"):
            evaluate("cell", *cell, tmp_path / "results")
    finally:
        path.write_text(before)


# plan


def test_the_plan_adds_a_store_and_no_cell(tmp_path):
    folder = [f"data.root={tmp_path}", "data=coco_dir", "data.name=boxes"]
    found = [*folder, f"data.detections={tmp_path}/found.json"]
    plain = plan(["grid=single", *found])
    both = plan(["grid=single", *found, "evaluate.boxes=detections"])
    ((key, cell),) = both["cells"].items()
    assert list(plain["cells"]) == [key]
    assert cell["train"] == plain["cells"][key]["train"]
    assert set(both["stores"]) - set(plain["stores"]) == {"boxes-64x48-detections"}
    assert both["stores"]["boxes-64x48"] == plain["stores"]["boxes-64x48"]
    assert cell["detections"] == "data/stores/boxes-64x48-detections"
    assert both["data"]["boxes"]["depends_detections"] == f"{tmp_path}/found.json"
    for overrides, says in (
        (folder, "data.detections is not set"),
        (["evaluate.boxes=other"], "evaluate.boxes=other: expected gt or detections"),
    ):
        with pytest.raises(StageError, match=says):
            plan(["grid=single", "evaluate.boxes=detections", *overrides])
