"""The published protocols: each composes, says what it should give, and runs."""

import functools
import json
import math
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from plugins.codecs import build_codec
from plugins.hooks import resume
from plugins.sizes import parse_size
from stages.compare.published import read_published
from stages.downsample import downsample
from stages.evaluate.__main__ import evaluate
from stages.files import StageError
from stages.plan import CONF, plan
from stages.prepare import prepare
from stages.train import train
from tests.coco_folder import write_coco_folder

FILES = sorted((CONF / "experiment").glob("*.yaml"))
NAMES = [path.stem for path in FILES]
METHODS = ["msra", "dark", "udp", "udp_offset", "cal"]
TWO_IMAGES = ["schedule.epochs=1", "schedule.batch_size=2", "schedule.validate_every=1"]
# MMEngine names its singletons by the second; here several trainings share one.
pytestmark = pytest.mark.filterwarnings("ignore:.*has been created:UserWarning")


@functools.cache
def compose(name: str, *overrides: str) -> dict:
    """params.yaml of an experiment on a folder in COCO format."""
    folder = ["data=coco_dir", "data.root=photos", "data.name=two"]
    found = "data.detections=photos/detections.json"
    return plan([f"+experiment={name}", *folder, found, *overrides])


def parts(name: str) -> tuple[str, str]:
    """Backbone and size."""
    backbone, size = re.fullmatch(r"(hrnet_w\d+)_(\d+x\d+)", name).groups()
    return backbone, size


def test_there_is_one_for_each_network_and_size():
    expected = [
        f"hrnet_{width}_{size}"
        for width in ("w32", "w48")
        for size in ("64x48", "128x96", "256x192")
    ]
    assert sorted(expected) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_it_composes_to_what_its_name_says(name):
    params = compose(name)
    backbone, size = parts(name)
    cells = {cell["method"]: cell for cell in params["cells"].values()}
    assert sorted(cells) == sorted(METHODS) and len(params["cells"]) == 5
    for method, cell in cells.items():
        settings = cell["train"]
        assert (cell["backbone"], cell["size"]) == (backbone, size)
        assert settings["schedule"]["epochs"] == 210 and cell["schedule"] == "paper"
        assert settings["augment"]["rotation"] == 45
        assert cell["evaluate"]["boxes"] == "detections"
        legacy = method in ("msra", "dark")
        assert settings["transform"] == ("legacy" if legacy else "udp")
    (gt, detections) = params["stores"].values()
    # What crops of a resolution of 256x192 hold, whatever the size.
    assert gt["oversample"] * int(size.split("x")[0]) == 256
    assert detections == gt | {"boxes": "detections"}


# What CAL's authors released for each network and size.
CAL = {
    "hrnet_w32": {"offset_weight": 0.7, "unit": 1.5, "sigma": (0.3, 1, 2)},
    "hrnet_w48": {"offset_weight": 1.0, "unit": 1.0, "sigma": (0.5, 1, 2)},
}


@pytest.mark.parametrize("name", NAMES)
def test_cal_has_its_released_settings(name):
    cells = compose(name)["cells"].values()
    (method,) = (c["train"]["method"] for c in cells if c["method"] == "cal")
    backbone, size = parts(name)
    codec = build_codec(**method["codec"] | {"input_size": parse_size(size)})
    expected, loss = CAL[backbone], method["loss"]
    assert loss["offset_weight"] == expected["offset_weight"]
    assert loss["weighting"] == "gmm" and loss["components"] == 1
    order = ("64x48", "128x96", "256x192").index(size)
    assert (codec.unit, codec.radius) == (expected["unit"], 4)
    assert codec.sigma == pytest.approx(expected["sigma"][order])


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_it_opens_with_what_to_expect(path):
    backbone, size = parts(path.stem)
    head = path.read_text().partition("products:")[0]
    assert f"python -m stages.plan +experiment={path.stem} " in head
    assert "arXiv 1902.09212" in head and "2109.09090" in head
    assert re.search(r"Expected on one H200: [\d.]+ h a method, [\d.]+ h cal", head)
    rows = read_published()
    rows = rows[(rows["backbone"] == backbone) & (rows["size"] == size)]
    rows = rows[(rows["upscale"] == "none") & rows["method"].isin(METHODS)]
    quoted = set(re.findall(r"(\w+)\s+(?:#\s+)?(\d\d\.\d)\b", head))
    assert quoted == {(m, f"{ap:.1f}") for m, ap in rows[["method", "AP"]].values}


def test_methods_on_the_command_line_choose_among_its_own():
    cells = compose(NAMES[0], "method=cal,udp")["cells"]
    assert [cell["method"] for cell in cells.values()] == ["udp", "cal"]
    with pytest.raises(StageError, match="has no method simcc"):
        compose(NAMES[0], "method=simcc")
    with pytest.raises(StageError, match="experiment/nothing"):
        plan(["+experiment=nothing"])


def test_a_cell_has_the_name_that_it_has_in_any_grid():
    """So that it is trained once."""
    (one,) = compose("hrnet_w32_64x48", "method=udp")["cells"]
    folder = ["data=coco_dir", "data.root=photos", "data.name=two"]
    others = ["grid=single", "backbone=hrnet_w32", "schedule=paper", *folder]
    assert one in plan([*others, "method=udp", "store.oversample=4"])["cells"]


@pytest.fixture(scope="module")
def two_images(tmp_path_factory) -> Path:
    """A folder with a photo to train on and one to validate on, two persons in each."""
    root = tmp_path_factory.mktemp("two")
    write_coco_folder(root / "photos", {"train": 2, "val": 2}, (320, 240))
    coco = json.loads((root / "photos/annotations/val.json").read_text())
    boxes = [
        {name: person[name] for name in ("image_id", "category_id", "bbox")}
        | {"score": 0.9}
        for person in coco["annotations"]
    ]
    (root / "photos/detections.json").write_text(json.dumps(boxes))
    return root


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", NAMES)
def test_it_runs_on_two_images(name, method, two_images, monkeypatch):
    """Prepared, cut, trained for a step, evaluated on both kinds of boxes."""
    monkeypatch.chdir(two_images)
    # Up to 750 MB that nothing here goes on from; tests/test_train.py tries that.
    monkeypatch.setattr(resume, "save_state", lambda *state: None)
    params = compose(name, f"method={method}", *TWO_IMAGES)
    ((key, cell),) = params["cells"].items()
    for data, settings in params["data"].items():
        if not Path("data", data).exists():
            prepare(settings, Path("data", data), 1)
    for store, settings in params["stores"].items():
        if not Path("data/stores", store).exists():
            downsample(settings, Path("data/stores", store), 1)
    data, store = Path("data") / cell["data"], Path("data/stores") / cell["store"]
    train(key, cell["train"], data, store, Path("runs") / key)
    history = pd.read_csv(Path("runs") / key / "history.csv")
    assert len(history) == 1 and math.isfinite(history["loss"][0])
    checkpoint = Path("runs") / key / "checkpoint.pth"
    frame = evaluate(key, cell, checkpoint, Path("results") / key)
    own = frame[frame["own_decoder"]]
    assert list(own["boxes"]) == ["gt", "detections"]
    assert own["AP"].notna().all()
    for made in (".work", "runs"):  # W48's weights are 255 MB, twice
        shutil.rmtree(made)
