"""Evaluation: COCO's AP as pycocotools has it, errors in the right pixels, refusals."""

import io
import json
import math
import platform
import subprocess
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from plugins.datasets.crop_store import CropStore
from plugins.datasets.keypoint_sets import COCO17
from plugins.datasets.prepared import open_split
from plugins.hooks.states import save_checkpoint
from plugins.metrics.coco import COCO_STATS, coco_metrics, to_results
from plugins.metrics.keypoints import (
    correct_keypoints,
    distances,
    mean_labelled,
    object_keypoint_similarity,
)
from plugins.model import build_model
from stages.downsample import downsample
from stages.evaluate.__main__ import evaluate
from stages.evaluate.describe import git_revision
from stages.evaluate.keypoints import compare_keypoints, per_keypoint, person_oks
from stages.files import StageError, hash_of, hash_of_file
from tests.conftest import STORE


@pytest.fixture(scope="module")
def store(tiny_work) -> CropStore:
    return CropStore(tiny_work / "data/stores/tiny-32x24/val")


@pytest.fixture(scope="module")
def coco(tiny_work) -> dict:
    return open_split(tiny_work / "data/tiny", "val").coco


@pytest.fixture(scope="module")
def truth(store) -> np.ndarray:
    """True keypoints in image pixels."""
    return store.to_image_pixels(store.input_keypoints)


def metrics(coco, store, keypoints, score=1.0):
    scores = np.full(keypoints.shape[:2], score)
    return coco_metrics(coco, store, keypoints, scores, COCO17)


def test_perfect_predictions_have_ap_100(coco, store, truth):
    found = metrics(coco, store, truth)
    assert tuple(found) == COCO_STATS
    assert {found[name] for name in ("AP", "AP50", "AP75", "AR")} == {100.0}
    areas = store.area
    assert math.isnan(found["APL"]) == (not (areas > 96**2).any())
    assert found["APM"] == 100.0


def test_shifted_predictions_lower_it(coco, store, truth):
    aps = [metrics(coco, store, truth + shift)["AP"] for shift in (0, 1.5, 3, 60)]
    assert aps == sorted(aps, reverse=True)
    assert 0 < aps[2] < aps[1] < 100 and aps[3] == 0


def noisy(truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    spread = rng.uniform(0.5, 6, (len(truth), 1, 1))
    return truth + spread * rng.normal(size=truth.shape), rng.random(truth.shape[:2])


def test_ap_is_that_of_pycocotools(coco, store, truth, tmp_path):
    """Files written and read as the benchmark's own evaluation does."""
    keypoints, scores = noisy(truth)
    found = coco_metrics(coco, store, keypoints, scores, COCO17)
    results = []
    for row in range(len(store)):
        good = scores[row] > 0.2
        triplets = np.column_stack((keypoints[row], scores[row]))
        results.append(
            {
                "image_id": int(store.image_id[row]),
                "category_id": 1,
                "keypoints": triplets.ravel().tolist(),
                "score": float(scores[row][good].mean()),
            }
        )
    (tmp_path / "truth.json").write_text(json.dumps(coco))
    (tmp_path / "results.json").write_text(json.dumps(results))
    with redirect_stdout(io.StringIO()):
        dataset = COCO(tmp_path / "truth.json")
        loaded = dataset.loadRes(str(tmp_path / "results.json"))
        evaluation = COCOeval(dataset, loaded, "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    expected = evaluation.stats[:6]
    assert 5 < found["AP"] < 95
    for name, value in zip(COCO_STATS, expected, strict=True):
        assert value < 0 or found[name] == pytest.approx(100 * value, abs=1e-6), name


def test_the_truth_is_not_changed(coco, store, truth):
    before = json.dumps(coco)
    metrics(coco, store, truth)
    assert json.dumps(coco) == before


def test_similarity_is_pycocotools_oks(coco, store, truth):
    keypoints, scores = noisy(truth)
    detail = compare_keypoints(store, keypoints, COCO17)
    found = person_oks(detail["oks"], store.visible)
    with redirect_stdout(io.StringIO()):
        dataset = COCO()
        dataset.dataset = json.loads(json.dumps(coco))
        dataset.createIndex()
        ones = np.ones_like(scores)
        results = to_results(store.image_id, keypoints, ones, ones[:, 0], 1)
        evaluation = COCOeval(dataset, dataset.loadRes(results), "keypoints")
    evaluation._prepare()
    for row, annotation in enumerate(store.annotation_id):
        image = int(store.image_id[row])
        persons = [a["id"] for a in evaluation._gts[image, 1]]
        matrix = evaluation.computeOks(image, 1)
        rows = np.flatnonzero(store.image_id == image).tolist().index(row)
        column = persons.index(int(annotation))
        assert matrix[rows, column] == pytest.approx(found[row], abs=1e-9)


@pytest.mark.parametrize("oversample", [1, 2])
def test_errors_are_in_input_pixels(tiny_data, tmp_path, monkeypatch, oversample):
    monkeypatch.chdir(tiny_data)
    settings = STORE | {"size": "32x24", "oversample": oversample}
    downsample(settings, tmp_path / "store", 1)
    store = CropStore(tmp_path / "store/val")
    moved = store.input_keypoints + np.array([0.6, -0.8])
    detail = compare_keypoints(store, store.to_image_pixels(moved), COCO17)
    np.testing.assert_allclose(detail["input_px"], 1.0, atol=1e-9)
    table = per_keypoint("udp", detail, store, COCO17)
    assert list(table["keypoint"]) == list(COCO17.names)
    assert table["error_px"].to_numpy() == pytest.approx(1.0)
    assert list(table["count"]) == (store.visible > 0).sum(0).tolist()


def test_metrics_of_known_distances():
    bbox = np.array([[0, 0, 40, 100.0], [0, 0, 200, 100]])
    distance = np.array([[5.0, 5.1], [10, 10.1]])
    correct = correct_keypoints(distance, bbox)
    assert correct.tolist() == [[True, False], [True, False]]
    visible = np.array([[1, 0], [2, 2]])
    assert mean_labelled(correct, visible) == pytest.approx(2 / 3)
    assert math.isnan(mean_labelled(correct, np.zeros((2, 2))))
    one = np.exp(-(5.0**2) / (2 * 400 * (2 * 0.05) ** 2))
    found = object_keypoint_similarity(distance[:1, :1], np.array([400.0]), [0.05])
    assert found[0, 0] == pytest.approx(one)
    points = np.array([[[0.0, 0], [3, 4]]])
    assert distances(points, np.zeros((1, 2, 2))).tolist() == [[0, 5]]


@pytest.fixture
def trained(tiny_work, monkeypatch, compose_cell, store, tmp_path):
    """A cell, its checkpoint of random weights, and a folder for results."""
    monkeypatch.chdir(tiny_work)
    cell = compose_cell("size=32x24", "schedule=smoke", "method=dark")
    cell = cell | {"data": "tiny", "store": "tiny-32x24"}
    torch.manual_seed(0)
    model = build_model(cell["train"], COCO17, store.geometry)
    checkpoint = {
        "key": "cell",
        "config_hash": hash_of(cell["train"]),
        "data_hash": store.data_hash,
        "state_dict": model.state_dict(),
    }
    save_checkpoint(checkpoint, tmp_path / "checkpoint.pth")
    return cell, tmp_path / "checkpoint.pth", tmp_path / "results"


def test_it_writes_a_row_for_every_decoder(trained, store):
    cell, checkpoint, folder = trained
    frame = evaluate("cell", cell, checkpoint, folder)
    assert list(frame["decoder"])[0] == "dark"
    assert {"dark", "udp", "msra", "argmax"} <= set(frame["decoder"])
    assert frame["own_decoder"].tolist() == [True] + [False] * (len(frame) - 1)
    written = pd.read_csv(folder / "metrics.csv")
    assert list(written["decoder"]) == list(frame["decoder"])
    assert written["config_hash"][0] == hash_of(cell["train"])
    assert written["checkpoint_hash"][0] == hash_of_file(checkpoint)[:12]
    assert written["host"][0] == platform.node() and written["seed"][0] == 0
    assert written["device"][0].startswith(("cpu ", "cuda "))
    assert "torch=" in written["versions"][0]
    assert (written["parameters"] > 1e5).all() and (written["gmacs"] > 0.001).all()
    assert len(pd.read_csv(folder / "per_keypoint.csv")) == 17 * len(frame)
    with np.load(folder / "predictions.npz") as predictions:
        assert len(predictions["annotation_id"]) == len(store)
    again = evaluate("cell", cell, checkpoint, folder)
    pd.testing.assert_series_equal(frame["error_px"], again["error_px"])


def test_the_revision_says_whether_sources_differ_from_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert git_revision() == ("unknown", False)
    for name in ("code.py", "dvc.lock", "results/metrics.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run(["git", *identity, *command], check=True)
    revision, dirty = git_revision()
    assert len(revision) == 40 and not dirty
    # The stages write these while they run.
    (tmp_path / "dvc.lock").write_text("2")
    (tmp_path / "results/metrics.csv").write_text("2")
    assert git_revision() == (revision, False)
    (tmp_path / "code.py").write_text("2")
    assert git_revision() == (revision, True)


def spoil(path: Path, **values) -> None:
    checkpoint = torch.load(path, weights_only=True)
    save_checkpoint(checkpoint | values, path)


SPOILT = {
    "other config": (
        lambda p: spoil(p, config_hash="0" * 12),
        "config_hash 0+, .*expec",
    ),
    "other data": (lambda p: spoil(p, data_hash="0" * 12), "data_hash 0+, .*expected"),
    "no hash": (lambda p: save_checkpoint({"state_dict": {}}, p), "config_hash None"),
    "truncated": (lambda p: p.write_bytes(p.read_bytes()[:1000]), "cannot be read"),
    "missing": (lambda p: p.unlink(), "not found"),
}


@pytest.mark.parametrize("fault", SPOILT)
def test_a_checkpoint_of_something_else_is_refused(trained, fault):
    cell, checkpoint, folder = trained
    change, says = SPOILT[fault]
    change(checkpoint)
    with pytest.raises(StageError, match=f"(?s){says}.*python -m stages.train cell"):
        evaluate("cell", cell, checkpoint, folder)
    assert not folder.exists()


def test_a_changed_setting_makes_it_another_cell(trained):
    cell, checkpoint, folder = trained
    schedule = cell["train"]["schedule"] | {"epochs": 3}
    cell = cell | {"train": cell["train"] | {"schedule": schedule}}
    with pytest.raises(StageError, match="config_hash"):
        evaluate("cell", cell, checkpoint, folder)


def test_unknown_boxes_and_missing_stores_are_refused(trained):
    cell, checkpoint, folder = trained
    boxes = cell | {"evaluate": cell["evaluate"] | {"boxes": "detected"}}
    with pytest.raises(
        StageError, match="evaluate.boxes=detected: expected gt or detections"
    ):
        evaluate("cell", boxes, checkpoint, folder)
    with pytest.raises(StageError, match="cell: .*python -m stages.downsample nowhere"):
        evaluate("cell", cell | {"store": "nowhere"}, checkpoint, folder)
