"""The public sources: files of their formats, from archives to the crop store."""

import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mmpose.evaluation.metrics import MpiiPCKAccuracy
from PIL import Image
from scipy.io import savemat

from plugins.datasets.crop_store import CropStore
from plugins.datasets.keypoint_sets import COCO17, LSP14, MPII16
from plugins.datasets.prepared import open_split
from stages.compare.rows import collect
from stages.compare.statistics.tables import compute
from stages.downsample import downsample
from stages.evaluate.keypoints import compare_keypoints, mpii_pckh
from stages.files import StageError
from stages.plan import plan
from stages.prepare import prepare
from tests.coco_folder import write_coco_folder
from tests.conftest import STORE
from tests.evaluated_cells import write_evaluated
from tests.fake_cells import make_cells, write_params

TOP = Path(__file__).parent.parent
DRAW = np.random.default_rng(5)


def settings(name: str, root: Path, *overrides: str) -> dict:
    """What conf/data/<name>.yaml composes to."""
    chosen = ["grid=single", f"data={name}", f"data.root={root}", *overrides]
    return plan(chosen)["data"][name]


def write_photos(folder: Path, names: list[str], size: tuple[int, int]) -> None:
    folder.mkdir(parents=True)
    for name in names:
        pixels = DRAW.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name, quality=90)


def zip_folder(path: Path, root: Path, top: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for file in (root / top).rglob("*.*"):
            archive.write(file, file.relative_to(root))


def test_coco_comes_from_its_archives(tmp_path):
    """Three zips of COCO's own names in a folder, and a file of detections."""
    own, mirror = tmp_path / "own", tmp_path / "mirror"
    write_coco_folder(own)
    for split in ("train", "val"):
        (own / split).rename(own / f"{split}2017")
        start = own / "annotations"
        start.joinpath(f"{split}.json").rename(
            start / f"person_keypoints_{split}2017.json"
        )
    mirror.mkdir()
    for top in ("train2017", "val2017", "annotations"):
        name = "annotations_trainval2017" if top == "annotations" else top
        zip_folder(mirror / f"{name}.zip", own, top)
    boxes = "COCO_val2017_detections_AP_H_56_person.json"
    (mirror / boxes).write_text("[]")
    chosen = settings("coco", tmp_path / "coco", f"data.download.mirror={mirror}")
    for part in chosen["download"]["parts"]:
        if part["checksum"]:
            with pytest.raises(StageError, match="has md5:.*, expected md5:"):
                prepare(chosen, tmp_path / "data/coco", 1)
        part["checksum"] = None
    manifest = prepare(chosen, tmp_path / "data/coco", 1)
    assert {s: p["persons"] for s, p in manifest["splits"].items()} == {
        "train": 6,
        "val": 4,
    }
    assert manifest["keypoint_set"] == "coco17"
    assert (tmp_path / "coco/person_detection_results" / boxes).exists()
    shutil.rmtree(mirror)  # no part is needed twice
    assert prepare(chosen, tmp_path / "data/coco", 1) == manifest


LSP_SIZE = (120, 160)


@pytest.fixture
def lspet(tmp_path) -> Path:
    """Five photos as in the official folder; of the last one a joint lies outside."""
    root = tmp_path / "lspet"
    names = [f"im{number:05d}.jpg" for number in range(1, 6)]
    write_photos(root / "images", names, LSP_SIZE)
    joints = np.ones((14, 3, 5))
    joints[:, :2] = DRAW.uniform(30, 90, (14, 2, 5))
    joints[3, 2, 1] = 0
    joints[5, :2, 4] = -3, 50
    savemat(root / "joints.mat", {"joints": joints})
    (tmp_path / "train.txt").write_text("im00001.jpg\nim00003.jpg\nim00004.jpg\n")
    (tmp_path / "val.txt").write_text("im00002.jpg\nim00005.jpg\n")
    np.save(tmp_path / "joints.npy", joints)
    return root


def lspet_settings(root: Path, *overrides: str) -> dict:
    lists = [f"data.{s}={root.parent}/{s}.txt" for s in ("train", "val")]
    return settings("lspet", root, *lists, *overrides)


@pytest.mark.parametrize("keypoint_set", [LSP14, COCO17], ids=lambda one: one.name)
def test_lspet_is_read_from_its_own_files(lspet, tmp_path, keypoint_set):
    chosen = lspet_settings(lspet, f"data.keypoints={keypoint_set.name}")
    manifest = prepare(chosen, tmp_path / "data/lspet", 1)
    assert manifest["keypoint_set"] == keypoint_set.name
    coco = open_split(tmp_path / "data/lspet", "val").coco
    assert [image["file_name"] for image in coco["images"]] == [
        "im00002.jpg",
        "im00005.jpg",
    ]
    joints = np.load(tmp_path / "joints.npy")
    for person, number, lost in zip(coco["annotations"], (2, 5), (3, 5), strict=True):
        truth = joints[:, :, number - 1]
        known = np.arange(14) != lost
        found = np.reshape(person["keypoints"], (-1, 3))
        for name, (x, y, v) in zip(keypoint_set.names, found, strict=True):
            joint = LSP14.names.index(name) if name in LSP14.names else lost
            assert v == (2 if known[joint] else 0)
            if v:
                np.testing.assert_allclose((x, y), truth[joint, :2], atol=0.0051)
        low, high = truth[known, :2].min(0), truth[known, :2].max(0)
        pad = 0.1 * (high - low).max()
        low = np.maximum(low - pad, 0)
        extent = np.minimum(high + pad, LSP_SIZE) - low
        np.testing.assert_allclose(person["bbox"], [*low, *extent], atol=0.0051)
        assert person["area"] == pytest.approx(0.52 * extent.prod(), rel=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda r: (r.parent / "val.txt").write_text("../x.jpg"),
            "expected such as im0",
        ),
        (
            lambda r: (r.parent / "val.txt").write_text("im00009.jpg"),
            "holds joints of 5",
        ),
        (lambda r: (r.parent / "val.txt").write_text(""), "each of them once"),
        (lambda r: (r.parent / "val.txt").unlink(), "val.txt: cannot be read"),
        (lambda r: (r / "images/im00002.jpg").unlink(), "'im00002.jpg': No such file"),
        (lambda r: (r / "images/im00002.jpg").write_text("x"), "cannot identify image"),
        (
            lambda r: (r / "joints.mat").write_text("x" * 500),
            "joints.mat: not readable",
        ),
        (lambda r: savemat(r / "joints.mat", {"joints": 1}), "expected .14, 3, N."),
    ],
)
def test_a_wrong_lspet_is_one_clear_error(lspet, tmp_path, change, message):
    chosen = lspet_settings(lspet)
    change(lspet)
    with pytest.raises(StageError, match=message):
        prepare(chosen, tmp_path / "data/lspet", 1)
    assert not (tmp_path / "data").exists() or not list((tmp_path / "data").iterdir())


def test_lspet_knows_its_keypoints(lspet, tmp_path):
    with pytest.raises(StageError, match="keypoints=mpii16: expected lsp14 or coco17"):
        prepare(lspet_settings(lspet, "data.keypoints=mpii16"), tmp_path / "data/x", 1)


def test_the_public_folder_gives_the_data_of_the_committed_tables(
    tmp_path, monkeypatch
):
    """The official names and joints.mat: to the bit what the tables were made of."""
    if "POSE_REAL_DATA" not in os.environ:
        pytest.skip("POSE_REAL_DATA does not name the folder of real photos")
    mini = Path(os.environ["POSE_REAL_DATA"]).resolve() / "lspet_mini"
    root = tmp_path / "lspet"
    (root / "images").mkdir(parents=True)
    shutil.copy(mini / "joints.mat", root)
    for photo in [*mini.glob("train/*"), *mini.glob("val/*")]:
        shutil.copy(photo, root / "images")
    monkeypatch.chdir(TOP)  # where the lists are
    chosen = settings("lspet", root, "data.keypoints=coco17")
    manifest = prepare(chosen, tmp_path / "data/lspet", 1)
    table = pd.read_csv(TOP / "results/real_photos/metrics.csv", dtype=str)
    (expected,) = table[table["data"] == "lspet"]["data_hash"].unique()
    assert manifest["data_hash"] == expected


MPII_SIZE = (128, 72)


def write_mpii(root: Path, split: str, persons: int, draw: np.random.Generator) -> dict:
    """HRNet's json of one split, two persons in a photo; gives what gt_valid has."""
    joints = draw.uniform(20, 70, (persons, 16, 2)).round(1)
    visible = draw.random((persons, 16)) > 0.2
    visible[:, 9] = True
    photos = [f"{split}{number // 2:03d}.jpg" for number in range(persons)]
    write_photos(root / "images" / split, sorted(set(photos)), MPII_SIZE)
    entries = [
        {
            "image": f"{split}/{photos[n]}",
            "joints": joints[n].tolist(),
            "joints_vis": visible[n].astype(int).tolist(),
            "center": [60.0 + n, 35.0],
            "scale": 0.3,
        }
        for n in range(persons)
    ]
    (root / "annot").mkdir(exist_ok=True)
    (root / "annot" / f"{split}.json").write_text(json.dumps(entries))
    corners = draw.uniform(30, 40, (2, 2, persons))
    corners[1] += 12
    return {
        "pos_gt_src": joints.transpose(1, 2, 0),
        "jnt_missing": (~visible).T.astype(float),
        "headboxes_src": corners,
    }


@pytest.fixture(scope="module")
def mpii(tmp_path_factory) -> tuple[Path, dict]:
    """A folder to run stages in with ``mpii/`` as HRNet has it; and its gt_valid."""
    root = tmp_path_factory.mktemp("work")
    draw = np.random.default_rng(3)
    write_mpii(root / "mpii", "train", 6, draw)
    truth = write_mpii(root / "mpii", "valid", 8, draw)
    savemat(root / "mpii/annot/gt_valid.mat", truth)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        chosen = settings("mpii", Path("mpii"), "size=64x64")
        prepare(chosen, Path("data/mpii"), 1)
        store = STORE | {"data": "mpii", "size": "64x64"}
        downsample(store, Path("data/stores/mpii-64x64"), 1)
    return root, truth


def test_mpii_is_read_as_hrnet_reads_it(mpii):
    root, truth = mpii
    store = CropStore(root / "data/stores/mpii-64x64/val")
    assert store.keypoint_set is MPII16
    image = store.to_image_pixels(store.input_keypoints)
    joints = truth["pos_gt_src"].transpose(2, 0, 1)
    known = truth["jnt_missing"].T == 0
    np.testing.assert_array_equal(store.visible > 0, known)
    np.testing.assert_allclose(image[known], joints[known] - 1, atol=1e-6)
    # MPIIDataset: centre down by 15 s, 1-based; 200 px of 1.25 s onto the input.
    centre = np.array([[60.0 + n - 1, 35.0 + 15 * 0.3 - 1] for n in range(8)])
    side = 1.25 * 200 * 0.3
    corners = np.array([[[0, 0], [63, 63]]] * 8, dtype=float)
    shown = store.to_image_pixels(corners)
    np.testing.assert_allclose(shown[:, 0], centre - side / 2, atol=0.01)
    np.testing.assert_allclose(shown[:, 1], centre + side / 2, atol=0.01)


def pckh_by_hand(predicted: np.ndarray, truth: dict, threshold: float) -> float:
    """MPII's evaluation with loops; ``predicted`` (N, 16, 2) counts pixels from 0."""
    right = counted = 0
    for n, person in enumerate(predicted):
        (x1, y1), (x2, y2) = truth["headboxes_src"][:, :, n]
        head = 0.6 * ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
        for joint in range(16):
            if joint in (6, 7) or truth["jnt_missing"][joint, n]:
                continue
            x, y = truth["pos_gt_src"][joint, :, n]
            error = (person[joint, 0] + 1 - x) ** 2 + (person[joint, 1] + 1 - y) ** 2
            counted += 1
            right += error**0.5 <= threshold * head
    return 100 * right / counted


def test_pckh_is_mpiis(mpii):
    """Of a hand-made case, and of MMPose's metric; each keypoint off by some pixels."""
    root, truth = mpii
    store = CropStore(root / "data/stores/mpii-64x64/val")
    coco = open_split(root / "data/mpii", "val").coco
    off = np.random.default_rng(1).normal(0, 3, store.keypoints.shape)
    off[::2] /= 5
    predicted = store.to_image_pixels(store.input_keypoints) + off
    detail = compare_keypoints(store, predicted, MPII16)
    found = mpii_pckh(coco, store, detail["image_px"])
    expected = [pckh_by_hand(predicted, truth, share) for share in (0.5, 0.1)]
    assert list(found) == ["PCKh", "PCKh@0.1"]
    assert list(found.values()) == pytest.approx(expected, abs=1e-9)
    assert 20 < expected[1] < expected[0] < 99

    joints = truth["pos_gt_src"].transpose(2, 0, 1)
    heads = 0.6 * np.linalg.norm(np.subtract(*truth["headboxes_src"][::-1]), axis=0)
    sample = {
        "pred_coords": predicted,
        "gt_coords": joints,
        "mask": truth["jnt_missing"].T == 0,
        "head_size": np.repeat(heads[:, None], 2, axis=1),
    }
    theirs = MpiiPCKAccuracy().compute_metrics([sample])
    assert theirs["PCK"] == pytest.approx(found["PCKh"], abs=1e-3)
    assert theirs["PCK@0.1"] == pytest.approx(found["PCKh@0.1"], abs=1e-3)


def test_pckh_is_drawn_again_as_evaluate_measures_it(mpii, tmp_path):
    root, _ = mpii
    (tmp_path / "data").symlink_to(root / "data")
    cells = make_cells(("udp", "cal"), ("64x64",), data="mpii")
    write_params(tmp_path, cells)
    store = CropStore(root / "data/stores/mpii-64x64/val")
    coco = open_split(root / "data/mpii", "val").coco
    for key, cell in cells.items():
        write_evaluated(tmp_path, key, cell, store, coco)
    results = collect(tmp_path)
    computed = compute(results)
    wide = results.rows.melt(["key", "decoder"], ["PCKh", "PCKh@0.1"], "metric")
    both = wide.merge(computed.statistics, on=["key", "decoder", "metric"])
    assert len(both) == len(wide) > 0
    np.testing.assert_allclose(both["value_x"], both["value_y"], atol=1e-9)
    assert (both["low"] <= both["value_x"]).all()
    assert (both["value_x"] <= both["high"]).all()
    assert both["low"].lt(both["high"]).any()
    assert set(computed.differences["metric"]) >= {"PCKh", "PCKh@0.1"}


def test_pckh_is_empty_without_heads(mpii):
    root, _ = mpii
    store = CropStore(root / "data/stores/mpii-64x64/val")
    coco = open_split(root / "data/mpii", "val").coco
    for person in coco["annotations"]:
        del person["head_size"]
    found = mpii_pckh(coco, store, np.zeros(store.visible.shape))
    assert np.isnan(list(found.values())).all()


def edit(root: Path, change) -> None:
    path = root / "annot/valid.json"
    persons = json.loads(path.read_text())
    path.write_text(json.dumps(change(persons) or persons))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda p: p[3].pop("scale") and None,
            r"valid.json: person \[3\]: scale is None",
        ),
        (lambda p: p[2].update(joints=[[1, 2]]), "expected 16 x 2 numbers"),
        (lambda p: p[2].update(center=[1, float("nan")]), r"center is \[1, nan\]"),
        (lambda p: p[2].update(image="../../x.jpg"), "leaves that folder"),
        (lambda p: p[:-1], "gt_valid.mat: "),
        (lambda p: p[0].update(joints=p[1]["joints"]), "has not the head boxes"),
        (lambda p: {"a": 1}, "expected a list of persons"),
    ],
)
def test_a_wrong_mpii_is_one_clear_error(mpii, tmp_path, change, message):
    shutil.copytree(mpii[0] / "mpii", tmp_path / "mpii")
    edit(tmp_path / "mpii", change)
    with pytest.raises(StageError, match=message):
        prepare(settings("mpii", tmp_path / "mpii"), tmp_path / "data/mpii", 1)


def test_a_person_of_mpii_without_a_labelled_joint_is_counted(mpii, tmp_path):
    shutil.copytree(mpii[0] / "mpii", tmp_path / "mpii")
    edit(tmp_path / "mpii", lambda p: p[0].update(joints_vis=[0] * 16))
    manifest = prepare(settings("mpii", tmp_path / "mpii"), tmp_path / "data/mpii", 1)
    assert manifest["splits"]["val"]["skipped"] == {"no visible keypoint": 1}
    assert manifest["splits"]["val"]["persons"] == 7
    assert "num_keypoints corrected" not in manifest["splits"]["val"]["warnings"]
