"""Keypoint sets, and one of another size than COCO's all the way through the stages."""

from pathlib import Path

import mmpose
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from mmpose.datasets.datasets.utils import parse_pose_metainfo

from plugins.datasets.crop_store import CropStore
from plugins.datasets.keypoint_sets import (
    COCO17,
    KEYPOINT_SETS,
    LSP14,
    MPII16,
    find_set,
    nearest_set,
)
from plugins.model import build_model
from stages.compare.pictures import _draw_skeleton
from stages.downsample import downsample
from stages.evaluate.__main__ import evaluate
from stages.files import StageError
from stages.prepare import prepare
from stages.train import train
from tests.coco_folder import write_coco_folder
from tests.conftest import STORE

LOWER = ("hip", "knee", "ankle")
UPPER = ("shoulder", "elbow", "wrist")
"""Joints that every set has, left and right."""


def both_sides(*joints: str) -> set[str]:
    return {f"{side}_{joint}" for side in ("left", "right") for joint in joints}


@pytest.mark.parametrize("one", KEYPOINT_SETS.values(), ids=lambda one: one.name)
def test_a_set_fits_together(one):
    count = len(one.names)
    assert len(one) == count == len(set(one.names)) == len(one.sigmas)
    flip = one.flip_indices
    assert [flip[flip[i]] for i in range(count)] == list(range(count))
    assert both_sides(*LOWER, *UPPER) <= set(one.names)
    used = {index for limb in one.skeleton for index in limb}
    assert used == set(range(count)), "a keypoint without a limb"
    assert set(one.pckh) <= used
    assert {one.names[i] for i in one.lower_body} - {"pelvis"} == both_sides(*LOWER)
    limbs = {frozenset(limb) for limb in one.skeleton}
    assert {frozenset(flip[i] for i in limb) for limb in limbs} == limbs


@pytest.mark.parametrize("one", [MPII16, LSP14], ids=lambda one: one.name)
def test_a_joint_that_coco_has_keeps_its_sigma(one):
    known = dict(zip(COCO17.names, COCO17.sigmas, strict=True))
    own = dict(zip(one.names, one.sigmas, strict=True))
    shared = own.keys() & known.keys()
    assert {name: own[name] for name in shared} == {n: known[n] for n in shared}


def test_mpii_is_in_the_order_of_mmpose():
    path = Path(mmpose.__file__).parent / ".mim/configs/_base_/datasets/mpii.py"
    meta = parse_pose_metainfo(dict(from_file=str(path)))
    assert [meta["keypoint_id2name"][i] for i in range(16)] == list(MPII16.names)
    assert meta["flip_indices"] == MPII16.flip_indices
    limbs = {frozenset(limb) for limb in meta["skeleton_links"]}
    assert limbs == {frozenset(limb) for limb in MPII16.skeleton}


def test_sets_are_found_by_name_and_by_likeness():
    assert find_set("lsp14") is LSP14
    with pytest.raises(ValueError, match="'x': expected one of coco17, mpii16, lsp14"):
        find_set("x")
    assert nearest_set(MPII16.names[:10]) is MPII16
    assert nearest_set(LSP14.names) is LSP14
    assert nearest_set([None, 3]) is COCO17


@pytest.fixture(scope="module")
def mpii_work(tmp_path_factory) -> Path:
    """A folder to run stages in: ``data/tiny`` and a square store of 16 keypoints."""
    root = tmp_path_factory.mktemp("mpii")
    write_coco_folder(root / "photos", {"train": 12, "val": 6}, keypoint_set=MPII16)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        settings = {"name": "tiny", "source": "coco_dir", "root": "photos"}
        prepare(settings, Path("data/tiny"), 1)
        store = Path("data/stores/tiny-32x32")
        downsample(STORE | {"size": "32x32"}, store, 1)
    return root


def test_the_set_goes_with_the_data_to_the_end(mpii_work, monkeypatch, compose_cell):
    """From the category of a COCO file to the head's channels and the tables' rows."""
    monkeypatch.chdir(mpii_work)
    folder = Path("data/stores/tiny-32x32")
    assert CropStore(folder / "val").keypoint_set is MPII16
    choices = ["size=32x32", "method=udp", "schedule=smoke", "auxiliary=bone"]
    cell = compose_cell(*choices, "schedule.batch_size=4", "schedule.epochs=1")
    cell = cell | {"data": "tiny", "store": folder.name}
    train("k", cell["train"], Path("data/tiny"), folder, Path("runs/k"))
    frame = evaluate("k", cell, Path("runs/k/checkpoint.pth"), Path("out"))
    assert frame["AP"].notna().all()
    table = pd.read_csv("out/per_keypoint.csv")
    assert list(table["keypoint"][:16]) == list(MPII16.names)
    with np.load("out/predictions.npz") as file:
        assert file["keypoints"].shape[1:] == (6, 16, 2)


def test_a_model_mirrors_and_joins_the_keypoints_of_its_own_set(geometry, compose_cell):
    cell = compose_cell("size=32x32", "method=udp", "auxiliary=bone")
    model = build_model(cell["train"], LSP14, geometry("32x32"))
    assert model.data_preprocessor.keypoint_set is LSP14
    edges = model.head.objective.losses[1].pairs.T.tolist()
    wanted = [list(limb) for limb in LSP14.skeleton]
    every = [[a, b] for a in range(14) for b in range(a + 1, 14)]
    assert edges == (wanted if cell["train"]["auxiliary"]["pairs"] != "all" else every)


def test_both_splits_have_one_set(tmp_path):
    root = write_coco_folder(tmp_path / "photos", {"train": 4})
    write_coco_folder(root, {"val": 4}, keypoint_set=LSP14)
    settings = {"name": "tiny", "source": "coco_dir", "root": str(root)}
    with pytest.raises(StageError, match="val.json: .*lsp14.*train.json are coco17"):
        prepare(settings, tmp_path / "data/tiny", 1)


def test_a_square_input_shows_a_square_of_the_photo(mpii_work):
    """The box grows to the input's aspect, and a pixel is as wide as it is high."""
    store = CropStore(mpii_work / "data/stores/tiny-32x32/val")
    scale = store.to_image[:, [0, 1], [0, 1]]
    np.testing.assert_allclose(scale[:, 0], scale[:, 1])
    np.testing.assert_allclose(31 * scale[:, 0], 1.25 * store.bbox[:, 2:].max(axis=1))


def test_only_limbs_between_labelled_keypoints_are_drawn():
    axis = Figure().subplots()
    labelled = np.arange(14) != 13
    _draw_skeleton(axis, np.random.rand(14, 2), labelled, LSP14.skeleton, "red")
    (lines,) = axis.collections
    assert len(lines.get_segments()) == len(LSP14.skeleton) - 1
