"""The measured speeds that are shown."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData, PixelData
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample
from PIL import Image

from benchmarks import downsample, run, stock_mmpose, training
from tests.coco_folder import write_coco_folder

RESULTS = sorted(Path("benchmarks/results").glob("*.json"))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_the_tables_are_those_of_the_figures(path):
    found = json.loads(path.read_text())
    assert path.with_suffix(".md").read_text() == run.render(path.stem, found)


def test_only_the_parts_asked_for_are_measured_anew(tmp_path, monkeypatch):
    """The others keep their figures and their date."""
    monkeypatch.setattr(run, "RESULTS", tmp_path)
    monkeypatch.setattr(run, "run", lambda script, arguments: {"milliseconds": {}})
    monkeypatch.setattr(run, "render", lambda device, found: "")
    path = tmp_path / f"{run.device_name()}.json"
    old = {"date": "then", "figures": {"photos_per_second": 1}}
    path.write_text(json.dumps({"downsample": old, "decode": old}))
    monkeypatch.setattr(run, "SYNTHETIC", tmp_path)  # decode needs no photos
    monkeypatch.setattr("sys.argv", ["run.py", "--only", "decode"])
    run.main()
    found = json.loads(path.read_text())
    assert found["downsample"] == old
    assert found["decode"]["figures"] == {"milliseconds": {}}
    assert found["decode"]["date"] != "then"


def stock_options(**chosen) -> SimpleNamespace:
    usual = dict(
        root=Path(), size="64x48", codec="udp", epochs=1, seed=0, batch_size=2,
        workers=0, input_size=(48, 64), optimizer="AdamW", lr=0.003, weight_decay=0.01,
        schedule="cosine", warm_up=60, precision="fp32",
    )  # fmt: skip
    return SimpleNamespace(**usual | chosen)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_stock_heads_learn_as_a_gpu_trains_them(precision, tmp_path):
    """MMPose's ResNet has maps of 2x2 at 64x48: 16x16 after deconvolution."""
    config = stock_mmpose.make_config(stock_options(precision=precision), str(tmp_path))
    deconvolution = dict(deconv_out_channels=(8, 8, 8), deconv_kernel_sizes=(4, 4, 4))
    model = config.model.to_dict()
    head = MODELS.build(model["head"] | deconvolution)
    training.cut_maps(head, (12, 16))
    persons = [PoseDataSample(), PoseDataSample()]
    for person in persons:
        person.gt_fields = PixelData(heatmaps=torch.rand(17, 16, 12))
        labels = {"keypoint_weights": torch.ones(1, 17)}
        person.gt_instance_labels = InstanceData(**labels)
    mixed = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
    with mixed:
        features = (torch.rand(2, 16, 2, 2),)
        losses = head.loss(features, persons, model.get("train_cfg") or {})
    assert losses["loss_kpt"].isfinite()
    assert ("acc_pose" in losses) == (precision == "fp32")


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["hrnet_micro", "resnet18"])
def test_training_is_measured_beside_stock(tmp_path, monkeypatch, backbone):
    root = write_coco_folder(tmp_path / "photos", {"train": 32, "val": 16})
    monkeypatch.chdir(tmp_path)
    command = f"training.py --root {root} --sizes 64x48 --persons 40 --workers 1"
    command += f" --backbone {backbone} --batch-size 8 --out {tmp_path}/figures.json"
    monkeypatch.setattr("sys.argv", command.split())
    training.main()
    found = json.loads((tmp_path / "figures.json").read_text())["64x48"]
    assert set(found) == {"step", "ours", "stock 1", "ratios"}
    assert all(ratio > 0 for ratio in found["ratios"].values())


@pytest.mark.parametrize("last", [5, 12, 20, 23])
def test_training_and_bare_step_take_turns(last, monkeypatch):
    """A step of the training takes two seconds, one of the bare network three."""
    now, bare_steps = [0.0], []
    monkeypatch.setattr(training, "moment", lambda: now[0])

    def bare():
        bare_steps.append(now[0])
        now[0] += 3

    clock, alone = training.Clock(4, last, bare), training.Clock(4, last)
    for iteration in range(last):
        now[0] += 2
        clock.after_train_iter(SimpleNamespace(iter=iteration), 0)
    assert clock.seconds == 2 * (last - 4)
    assert clock.bare_seconds == 3 * (last - 4) == 3 * len(bare_steps)
    now[0] = 0.0
    for iteration in range(last):
        now[0] += 2
        alone.after_train_iter(SimpleNamespace(iter=iteration), 0)
    assert alone.seconds == 2 * (last - 4)


def test_enlarged_photos_have_their_people_where_they_were(tmp_path, monkeypatch):
    root = write_coco_folder(tmp_path / "photos", {"train": 6, "val": 2})
    before = json.loads((root / "annotations/train.json").read_text())
    before["annotations"][0]["keypoints"] = [0] * 51  # nobody there
    (root / "annotations/train.json").write_text(json.dumps(before))
    monkeypatch.setattr(downsample, "LARGE_PHOTOS", 2)
    folder = downsample.enlarge(root, tmp_path / "large")
    after = json.loads((folder / "annotations/train.json").read_text())
    assert [i["id"] for i in after["images"]] == [i["id"] for i in before["images"][:2]]
    old = {a["id"]: a for a in before["annotations"][1:4]}
    assert [a["id"] for a in after["annotations"]] == list(old)
    for person in after["annotations"]:
        was = old[person["id"]]
        keypoints = np.array([a["keypoints"] for a in (was, person)]).reshape(2, -1, 3)
        np.testing.assert_allclose(keypoints[1], keypoints[0] * [6, 6, 1])
        np.testing.assert_allclose(person["bbox"], np.multiply(was["bbox"], 6))
        assert person["area"] == 36 * was["area"]
    image = after["images"][0]
    with Image.open(folder / "train" / image["file_name"]) as photo:
        assert photo.size == (image["width"], image["height"]) == (960, 720)


def test_stage_and_decoders_take_turns(tmp_path, monkeypatch):
    """The first round is not counted, and none finds what an earlier run made."""
    monkeypatch.chdir(tmp_path)
    now, calls = [0.0], []
    monkeypatch.setattr(downsample.time, "perf_counter", lambda: now[0])

    def run_of(name, seconds):
        def run_once():
            assert not downsample.NEW.exists()
            downsample.NEW.mkdir(parents=True)
            calls.append(name)
            now[0] += seconds + (100 if len(calls) <= 2 else 0)

        return run_once

    taken = downsample.take_turns({"a": run_of("a", 2), "b": run_of("b", 3)}, rounds=2)
    assert taken == {"a": [2, 2], "b": [3, 3]}
    assert calls == ["a", "b"] * 3


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_pil_decodes_whole_photos(tmp_path, mode):
    """PIL opens lazily: a photo that is cut short shows whether it was decoded."""
    path = tmp_path / "photo.jpg"
    Image.effect_noise((64, 48), 50).convert(mode).save(path)
    downsample.decode_by_pil(path)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(OSError, match="truncated"):
        downsample.decode_by_pil(path)
