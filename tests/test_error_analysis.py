"""Parts and kinds of error, calibration and cost: figures that are known beforehand."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from plugins.datasets.crop_store import CropStore
from plugins.datasets.keypoint_sets import COCO17
from plugins.datasets.prepared import open_truth
from plugins.metrics.coco import coco_metrics
from plugins.metrics.keypoints import PCKH
from stages.compare.rows import collect
from stages.compare.statistics.calibration import calibration
from stages.compare.statistics.cost import costs
from stages.compare.statistics.errors import KINDS, classify, error_kinds, mended
from stages.compare.statistics.evaluations import Evaluation, Pairs
from stages.compare.statistics.measure import METRICS
from stages.compare.statistics.parts import SIZES, by_keypoint, by_size
from stages.compare.statistics.persons import Poses, Truth, make_truth
from stages.compare.statistics.tables import compute
from stages.files import StageError
from tests.coco_folder import POSE
from tests.evaluated_cells import write_work
from tests.fake_cells import (
    make_cells,
    metric_rows,
    write_history,
    write_metrics,
    write_params,
)
from tests.fake_persons import SIGMAS, make_both, run_cocoeval
from tests.test_detections import BOXES
from tests.test_detections import work as boxes_work  # noqa: F401  (a fixture)

AREA = 10_000.0
APART = 1000.0
"""Image px between two persons: none of one is near any of the other."""


def two_persons() -> Truth:
    """Two persons in one image, all keypoints labelled and far from one another."""
    grid = np.stack(np.divmod(np.arange(17), 5), axis=1) * 150.0
    points = np.stack([grid, grid + [APART, 0]])
    triplets = np.concatenate([points, np.full((2, 17, 1), 2.0)], axis=2)
    persons = [
        {
            "id": n + 1,
            "image_id": 7,
            "area": AREA,
            "iscrowd": 0,
            "bbox": [0, 0, 700, 700],
            "keypoints": triplets[n].ravel().tolist(),
        }
        for n in range(2)
    ]
    return make_truth({"images": [{"id": 7}], "annotations": persons}, COCO17)


def at_similarity(truth: Truth, similarity: float) -> np.ndarray:
    """Offset ``(17,)`` in image px at which keypoints of area AREA are so alike."""
    return np.sqrt(-2 * AREA * np.log(similarity)) * 2 * SIGMAS


def evaluation(truth: Truth, poses: Poses, pairs: Pairs | None = None) -> Evaluation:
    return Evaluation("cell", "udp", "gt", True, truth, poses, pairs)


def poses_of(keypoints: np.ndarray) -> Poses:
    count = len(keypoints)
    score = np.linspace(1, 0.5, count)
    return Poses(np.zeros(count, int), keypoints, score, np.arange(count))


@pytest.fixture
def wrong() -> tuple[Truth, Poses]:
    """The first person with an error of each kind, the second one right."""
    truth = two_persons()
    points = truth.keypoints.copy()
    points[0, 5, 0] += at_similarity(truth, 0.7)[5]
    points[0, 7] = truth.keypoints[0, COCO17.flip_indices[7]]
    points[0, 8] = truth.keypoints[1, 8]
    points[0, 9] = truth.keypoints[1, COCO17.flip_indices[9]]
    points[0, 10] += [0, 400]
    points[0, 11, 0] += at_similarity(truth, 0.86)[11]
    points[0, 0] = truth.keypoints[0, 0]
    return truth, poses_of(points)


def test_each_error_is_given_its_kind(wrong):
    pose, person, kind, similarity = classify(*wrong)
    assert pose.tolist() == person.tolist() == [0, 1]
    named = [KINDS[n] for n in kind[0]]
    expected = {5: "jitter", 7: "inversion", 8: "swap", 9: "swap", 10: "miss"}
    assert named == [expected.get(n, "good") for n in range(17)]
    assert [KINDS[n] for n in kind[1]] == ["good"] * 17
    assert similarity[0, 5] == pytest.approx(0.7)
    assert similarity[0, [7, 8, 9]] == pytest.approx(1)


def test_poses_that_find_nobody_have_no_kinds(wrong):
    truth, poses = wrong
    lost = poses.moved(poses.keypoints + 1e5)
    frame = error_kinds(evaluation(truth, lost), 0.0)
    assert list(frame["kind"]) == list(KINDS) and not frame["share"].any()


def test_unlabelled_keypoints_have_no_kind(wrong):
    truth, poses = wrong
    truth.labelled[0, [5, 8]] = False
    _, _, kind, _ = classify(truth, poses)
    assert np.flatnonzero(kind[0] < 0).tolist() == [5, 8]


def test_a_pose_that_finds_nobody_is_not_looked_at(wrong):
    truth, poses = wrong
    poses.keypoints[1] += 5000
    pose, _, _, _ = classify(truth, poses)
    assert pose.tolist() == [0]


def test_mended_keypoints_have_the_similarity_that_was_asked_for():
    truth = two_persons()
    goal = np.linspace(0.1, 1, 34).reshape(2, 17)
    place = mended(truth, np.array([0, 1]), goal)
    square = ((place - truth.keypoints) ** 2).sum(axis=-1)
    assert np.exp(-square / truth.variance / AREA / 2) == pytest.approx(goal)


def test_shares_and_gains_of_mending(wrong):
    """One pose of two is wrong; mending a kind lifts its OKS by what theory says."""
    truth, poses = wrong
    frame = error_kinds(evaluation(truth, poses), 0.0).set_index("kind")
    assert frame["share"].sum() == pytest.approx(100)
    counts = {"jitter": 1, "inversion": 1, "swap": 2, "miss": 1, "good": 29}
    for kind, count in counts.items():
        assert frame["share"][kind] == pytest.approx(100 * count / 34)
    # Its OKS is 12.56 / 17 = 0.739; mended 0.748, 0.798, 0.856 and 0.768. Where it
    # fails, the other pose comes second: half the precision up to half the recall.
    right = {"jitter": 5, "inversion": 6, "swap": 8, "miss": 6}
    for kind, passed in right.items():
        ap = 100 * (passed + (10 - passed) * 0.5 * 51 / 101) / 10
        assert frame["AP_gain"][kind] == pytest.approx(ap), kind
    assert frame["AP_gain"]["good"] == 0


def test_a_keypoints_ap_is_cocos_with_it_alone():
    coco, truth, poses = make_both(30, 3, spread=0.15)
    frame = by_keypoint(evaluation(truth, poses)).set_index("keypoint")
    assert list(frame.index) == list(COCO17.names)
    for name, place in {"nose": 0, "left_hip": 11}.items():
        alone = json.loads(json.dumps(coco))
        for person in alone["annotations"]:
            triplets = np.reshape(person["keypoints"], (17, 3))
            triplets[np.arange(17) != place] = 0
            person["keypoints"] = triplets.ravel().tolist()
            person["num_keypoints"] = int((triplets[:, 2] > 0).sum())
        stats = run_cocoeval(alone, truth, poses).stats
        assert frame["AP"][name] == pytest.approx(100 * stats[0], abs=1e-9)
        labelled = truth.labelled[:, place] & ~truth.crowd
        assert frame["count"][name] == labelled.sum()


def test_persons_are_told_apart_by_their_area():
    coco, truth, poses = make_both(40, 4, spread=0.15)
    frame = by_size(evaluation(truth, poses)).set_index("size")
    stats = run_cocoeval(coco, truth, poses).stats
    assert list(frame.index) == list(SIZES)
    assert frame["AP"]["medium"] == pytest.approx(100 * stats[3], abs=1e-9)
    assert frame["AP"]["large"] == pytest.approx(100 * stats[4], abs=1e-9)
    counted = truth.labelled.any(axis=1) & ~truth.crowd
    assert frame["count"].sum() == counted.sum()
    assert frame["PCK"].isna().all()


def calibrated(score: np.ndarray, similarity: np.ndarray) -> pd.DataFrame:
    """Calibration of persons whose keypoints are all at the given similarity."""
    truth = two_persons()
    person = np.arange(len(score)) % 2
    points = truth.keypoints[person].copy()
    for n, value in enumerate(similarity):
        points[n, :, 0] += at_similarity(truth, value)
    pairs = Pairs(person, points, score, np.zeros((len(score), 17)), None, None)
    return calibration(evaluation(truth, poses_of(points), pairs))


def test_calibration_of_known_scores():
    score = np.array([0.11, 0.19, 0.55, 1.0, 1.3])
    oks = np.array([0.2, 0.4, 0.55, 0.9, 0.7])
    frame = calibrated(score, oks)
    assert frame["low"].tolist() == [0.1, 0.5, 0.9]
    assert frame["count"].tolist() == [2, 1, 2]
    assert frame["score"].tolist() == pytest.approx([0.15, 0.55, 1.15])
    assert frame["oks"].tolist() == pytest.approx([0.3, 0.55, 0.8])
    assert frame["ece"].iloc[0] == pytest.approx((2 * 0.15 + 0 + 2 * 0.35) / 5)
    assert frame["correlation"].iloc[0] == pytest.approx(0.9)


def test_scores_that_do_not_vary_predict_nothing():
    frame = calibrated(np.ones(4), np.array([0.2, 0.4, 0.6, 0.8]))
    assert np.isnan(frame["correlation"]).all() and len(frame) == 1


DEFINED = [metric for metric in METRICS if metric not in PCKH]
"""COCO has no head sizes."""


@pytest.fixture
def work(tiny_work, tmp_path) -> Path:
    return write_work(tiny_work, tmp_path)


def test_values_are_those_of_the_evaluation(work):
    """From files alone: matching, suppression, scores and errors are its own."""
    results = collect(work)
    frame = compute(results).statistics
    assert set(frame["key"]) == set(results.cells)
    wide = frame.pivot(index=["key", "decoder"], columns="metric", values="value")
    rows = results.rows.set_index(["key", "decoder"])[DEFINED]
    assert len(rows) == 12
    pd.testing.assert_frame_equal(
        wide[DEFINED], rows.sort_index(), check_names=False, rtol=1e-5
    )
    assert (frame["low"] <= frame["value"]).all()
    assert (frame["high"] >= frame["value"]).all()
    assert set(frame["images"]) == {3} and set(frame["persons"]) == {6}


def test_seeds_that_both_have_are_compared(work):
    results = collect(work)
    frame = compute(results).differences
    methods = frame[~frame["same_checkpoint"]]
    assert list(methods["metric"]) == DEFINED
    row = methods.set_index("metric").loc["AP"]
    own = results.rows[results.rows["own_decoder"]]
    ap = own.pivot(index="seed", columns="label", values="AP")
    each = ap["udp"] - ap["cal"]
    assert (row["a"], row["b"], row["seeds"]) == ("udp", "cal", 2)
    assert row["difference"] == pytest.approx(each.mean(), abs=1e-4)
    assert row["seed_spread"] == pytest.approx(each.std(), abs=1e-4)
    assert not methods["single_seed"].any()
    decoders = frame[frame["same_checkpoint"]]
    assert len(decoders) == 6 + 1 and set(decoders["metric"]) == {"AP"}
    assert (decoders["a"] == decoders["b"]).all()


def test_one_seed_in_common_is_labelled(work):
    lost = next((work / "results/cells").glob("*cal-s1"))
    (lost / "metrics.csv").unlink()
    frame = compute(collect(work)).differences
    methods = frame[~frame["same_checkpoint"]]
    assert methods["single_seed"].all() and (methods["seeds"] == 1).all()
    assert methods["seed_spread"].isna().all()


def test_cells_without_predictions_have_no_statistics(work):
    (next((work / "results/cells").glob("*udp-s0")) / "predictions.npz").unlink()
    found = compute(collect(work))
    assert found.statistics["key"].nunique() == 3 and len(found.cost) == 4


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"AP": 1.0},
            "decoder udp: the predictions have an AP of .*, metrics.csv says",
        ),
        ({"data_hash": "0" * 12}, "was evaluated on data 0+, .* now holds"),
        ({"decoder": "simcc"}, "predictions.npz: 'simcc' is not in list"),
    ],
)
def test_predictions_of_another_run_are_refused(work, change, says):
    key = next(iter(collect(work).cells))
    path = work / "results" / "cells" / key / "metrics.csv"
    rows = pd.read_csv(path, dtype={"data_hash": str, "config_hash": str})
    write_metrics(work, key, rows.assign(**change))
    others = [k for k in collect_cells(work) if k != key]
    for other in others:
        (work / "results" / "cells" / other / "metrics.csv").unlink()
    with pytest.raises(StageError, match=says):
        compute(collect(work))


def test_detected_boxes_are_measured_as_evaluate_does(boxes_work, tmp_path):  # noqa: F811
    """With crowds, unlabelled persons, repeated poses and weak boxes left out."""
    (key,) = cells = make_cells(methods=("cal",), sizes=("32x24",))
    evaluated = {"boxes": "detections", "box_threshold": 0.4}
    cells[key] |= {"data": "boxes", "detections": BOXES, "evaluate": evaluated}
    write_params(tmp_path, cells)
    (tmp_path / "data").symlink_to(boxes_work / "data")
    store = CropStore(boxes_work / BOXES / "val")
    coco = open_truth(boxes_work / "data/boxes", "detections")
    draw = np.random.default_rng(0)
    corner, sides = store.bbox[:, None, :2], store.bbox[:, None, 2:]
    points = (corner + sides * draw.normal(POSE, 0.03, (len(store), 17, 2))).astype("f")
    scores = draw.random(points.shape[:2]).astype(np.float32)
    found = coco_metrics(coco, store, points, scores, COCO17, 0.4)
    rows = metric_rows(key, cells[key], **found, PCK=np.nan, error_px=np.nan)
    rows = rows.query("own_decoder").assign(boxes="detections")
    write_metrics(tmp_path, key, rows.assign(data_hash=store.data_hash))
    np.savez(
        tmp_path / "results" / "cells" / key / "predictions_detections.npz",
        image_id=store.image_id,
        bbox=store.bbox,
        box_score=store.box_score,
        decoders=np.array(["cal"]),
        keypoints=points[None],
        scores=scores[None],
    )
    measured = compute(collect(tmp_path))
    values = measured.statistics.set_index("metric")["value"]
    assert list(values.index) == ["AP", "AP50", "AP75", "AR"] and 5 < values["AP"] < 95
    for metric, value in values.items():
        assert value == pytest.approx(found[metric], abs=1e-9)
    assert len(measured.keypoints) == 17 and measured.calibration.empty


def collect_cells(work: Path) -> list[str]:
    return [path.name for path in (work / "results" / "cells").iterdir()]


def test_cost_is_per_person_and_training_in_seconds(tmp_path):
    cells = make_cells(methods=("udp",), sizes=("64x48",), seeds=(0, 1))
    write_params(tmp_path, cells)
    first, second = cells
    for key, cell in cells.items():
        changes = {"network_s": 0.4, "decoder_s": 0.1, "persons_per_s": 400.0}
        write_metrics(tmp_path, key, metric_rows(key, cell, **changes))
    write_history(tmp_path, first, cells[first], epochs=3)
    results = collect(tmp_path)
    frame = costs(results).set_index("key")
    assert frame["network_ms"].tolist() == pytest.approx([2.0, 2.0])
    assert frame["decode_ms"].tolist() == pytest.approx([0.5, 0.5])
    assert frame["train_s"][first] == 3 * 2 and np.isnan(frame["train_s"][second])
    assert frame["parameters"][first] == 771_345
