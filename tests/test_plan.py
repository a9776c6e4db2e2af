"""params.yaml: what conf/ composes to, with unique keys that say what a cell is."""

import re
from pathlib import Path

import pytest
import yaml

from stages.files import StageError
from stages.plan import CONF, plan, render

TOP = Path(__file__).parent.parent
ONE = ["grid=single"]
METHODS = sorted(path.stem for path in (CONF / "method").glob("*.yaml"))


@pytest.fixture(scope="module")
def default() -> dict:
    return plan([])


def only(params: dict) -> tuple[str, dict]:
    ((key, cell),) = params["cells"].items()
    return key, cell


def test_the_committed_params_are_those_of_conf():
    committed = (TOP / "params.yaml").read_text()
    assert render(plan(yaml.safe_load(committed)["plan"])) == committed


def test_the_default_grid(default):
    grid = yaml.safe_load((CONF / "grid/default.yaml").read_text())["products"]
    assert len(default["cells"]) == sum(
        len(p["method"]) * len(p["size"]) * len(p.get("seed", [0])) for p in grid
    )
    assert set(default["data"]) == {"synthetic"}
    assert set(default["stores"]) == {f"synthetic-{s}" for s in grid[0]["size"]}


def test_keys_are_unique_legal_and_point_to_what_exists(default):
    for key, cell in default["cells"].items():
        assert re.fullmatch(r"[\w-]+", key)
        parts = [cell["store"], cell["backbone"], cell["method"], f"s{cell['seed']}"]
        assert key == "-".join(parts)
        assert default["stores"][cell["store"]]["size"] == cell["size"]
        assert default["stores"][cell["store"]]["data"] == cell["data"]
        assert cell["data"] in default["data"]
        assert cell["train"]["size"] == cell["size"]
        assert cell["train"]["method"]["name"] == cell["method"]
        assert cell["train"]["schedule"]["name"] == cell["schedule"]


@pytest.mark.parametrize("group", ["backbone", "method", "auxiliary", "schedule"])
def test_every_file_of_conf_composes_under_its_name(group):
    for path in sorted((CONF / group).glob("*.yaml")):
        _, cell = only(plan([*ONE, f"{group}={path.stem}"]))
        assert cell["train"][group]["name"] == path.stem
        assert cell.get(group, path.stem) == path.stem


def test_an_axis_on_the_command_line_replaces_the_grids():
    params = plan(["size=64x48,96x72", "method=udp", "seed=0,1,2"])
    assert params["plan"] == ["size=64x48,96x72", "method=udp", "seed=0,1,2"]
    assert sorted(params["cells"]) == [
        f"synthetic-{size}-hrnet_micro-udp-s{seed}"
        for size in ("64x48", "96x72")
        for seed in (0, 1, 2)
    ]
    assert set(params["stores"]) == {"synthetic-64x48", "synthetic-96x72"}
    assert {cell["seed"] for cell in params["cells"].values()} == {0, 1, 2}


def test_other_overrides_are_in_the_key():
    key, cell = only(plan([*ONE, "schedule=smoke", "augment.scale=0.1"]))
    assert key == "synthetic-64x48-hrnet_micro-udp-augment_scale_0_1-schedule_smoke-s0"
    assert cell["train"]["augment"]["scale"] == 0.1
    keys = plan([*ONE, "schedule.epochs=1,2"])["cells"]
    assert [key.split("-")[-2] for key in keys] == [
        "schedule_epochs_1",
        "schedule_epochs_2",
    ]
    negative, positive = (only(plan([*ONE, f"augment.rotation={v}"])) for v in (-1, 1))
    assert "-augment_rotation_m1-" in negative[0]
    assert "-augment_rotation_1-" in positive[0]


def test_the_camera_is_in_the_stores_name():
    params = plan([*ONE, "store.oversample=1,2"])
    one, two = params["stores"].items()
    assert (one[0], two[0]) == ("synthetic-64x48", "synthetic-64x48-store_oversample_2")
    assert (one[1]["oversample"], two[1]["oversample"]) == (1, 2)
    assert all(key.startswith(cell["store"]) for key, cell in params["cells"].items())


def test_data_changes_only_with_a_name_of_its_own():
    with pytest.raises(StageError, match="two different settings have the name"):
        plan([*ONE, "data.noise=1,2"])
    params = plan([*ONE, "data.noise=2", "data.name=noisy"])
    key, cell = only(params)
    assert key.startswith("noisy-64x48") and params["data"]["noisy"]["noise"] == 2


def test_a_folder_gives_the_data_its_name(tmp_path):
    params = plan([*ONE, "data=coco_dir", f"data.root={tmp_path}/my-photos"])
    assert list(params["data"]) == ["my_photos"]
    with pytest.raises(StageError, match="data.root"):
        plan([*ONE, "data=coco_dir"])
    with pytest.raises(StageError, match="data.name=a/b: expected letters"):
        plan([*ONE, "data.name=a/b"])


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("size=64x50", "64x50.*multiples of 8"),
        ("size=64", "HEIGHTxWIDTH"),
        ("method=nothing", "method/nothing"),
        ("nothing=1", "nothing"),
        ("schedule.epoch=5", "epoch"),
        ("upscale=nothing", "upscale/nothing"),
        (
            "method.loss.name=nothing",
            "loss 'nothing': expected plugins/losses/nothing.py",
        ),
        ("init=start", "init=start: expected a grid with a start"),
        ("grid=nothing", "grid/nothing"),
        ("size", "size"),
    ],
)
def test_a_wrong_override_is_named(override, says):
    with pytest.raises(StageError, match=says) as caught:
        plan([*ONE, override] if not override.startswith("grid") else [override])
    assert "Traceback" not in str(caught.value)


def test_a_cell_starts_from_another_one_of_the_plan():
    first = "synthetic-64x48-hrnet_micro-udp-s0"
    cells = plan([*ONE, f"init=none,{first}"])["cells"]
    (key, cell), (other, plain) = sorted(cells.items(), key=lambda c: c[0] == first)
    assert other == first and first.replace("-", "_") in key
    assert cell["init"] == f"runs/{first}"
    assert cell["train"]["init"] == {"from": first, "part": "all"}
    assert (TOP / plain["init"]).is_file()
    assert plain["train"]["init"] == {"from": "none", "part": "all"}


def test_a_cell_starts_from_a_file(tmp_path):
    (tmp_path / "imagenet.pth").touch()
    override = f"init={tmp_path}/imagenet.pth"
    key, cell = only(plan([*ONE, override, "init_part=backbone"]))
    assert cell["init"] == cell["train"]["init"]["from"] == f"{tmp_path}/imagenet.pth"
    assert "-init_imagenet-init_part_backbone-" in key
    assert cell["train"]["init"]["part"] == "backbone"


def test_every_start_of_a_grid_is_a_cell_of_it():
    cells = plan(["grid=init"])["cells"]
    starts = {c["init"] for c in cells.values() if c["train"]["init"]["from"] != "none"}
    assert starts == {"runs/synthetic-64x48-hrnet_micro-udp-s0"}
    assert starts <= {f"runs/{key}" for key in cells}


@pytest.mark.parametrize(
    "start", ["synthetic-64x48-hrnet_micro-dark-s0", "no/file.pth"]
)
def test_an_unknown_start_is_named(start):
    with pytest.raises(StageError, match=f"init={start}: expected the key of a cell"):
        plan([*ONE, f"init={start}"])


@pytest.mark.parametrize("method", METHODS)
def test_a_cell_depends_on_the_code_of_its_parts(method):
    """DVC watches them; a change of another part must not train it again."""
    _, cell = only(plan([*ONE, f"method={method}", "auxiliary=bone"]))
    settings = cell["train"]["method"]
    assert set(cell["code"]) == {"codec", "head", "loss", "backbone", "auxiliary"}
    for part in ("codec", "head", "loss"):
        place = TOP / cell["code"][part]
        assert place.parent.name == {"codec": "codecs", "loss": "losses"}.get(
            part, "heads"
        )
        assert place.exists() and place.stem == settings[part]["name"]
    assert cell["code"]["backbone"] == "plugins/backbones/hrnet.py"
    assert cell["code"]["auxiliary"] == "plugins/losses/bone.py"
    _, plain = only(plan([*ONE, f"method={method}"]))
    assert (TOP / plain["code"]["auxiliary"]).is_file()
    assert plain["train"]["auxiliary"]["name"] == "none"


def test_rendered_params_are_read_back(default):
    text = render(default | {"plan": ["size=64x48"]})
    assert "python -m stages.plan size=64x48\n" in text
    assert yaml.safe_load(text)["cells"] == default["cells"]
    assert "&id" not in text


def test_an_upscaled_cell_has_stores_and_a_network_of_its_own():
    key, cell = only(params := plan([*ONE, "upscale=sr_compact"]))
    store = "synthetic-64x48-sr_compact-256x192"
    network = f"super_resolution-{store}"
    assert key == f"{store}-hrnet_micro-udp-s0"
    assert (cell["size"], cell["upscale"]) == ("64x48", "sr_compact")
    assert cell["store"] == store and cell["train"]["upscale"]["to"] == "256x192"
    assert set(params["stores"]) == {"synthetic-64x48", "synthetic-64x48-sharp-256x192"}
    sharp = params["stores"]["synthetic-64x48-sharp-256x192"]
    low = params["stores"]["synthetic-64x48"]
    assert sharp == low | {"oversample": 4, "as_input": True}
    item = params["upscaled"][store]
    assert item["weights"] == f"runs/{network}/checkpoint.pth"
    assert item["store"] == "synthetic-64x48" and "training" not in item
    assert params["super_resolution"][network]["factor"] == 4
    changed = plan([*ONE, "upscale=sr_compact", "upscale.training.steps=5"])
    assert "-sr_compact-upscale_training_steps_5-256x192" in only(changed)[0]


def test_sharp_needs_the_camera_alone():
    params = plan([*ONE, "size=32x24", "upscale=sharp", "upscale_to=64x48"])
    assert list(params["stores"]) == ["synthetic-32x24-sharp-64x48"]
    assert not params["upscaled"] and not params["super_resolution"]


def test_a_cell_is_tested_on_other_persons_and_trained_once():
    tests = "test_upscale=none,bicubic,sr_compact"
    params = plan([*ONE, "upscale=sharp", tests])
    key, cell = only(params)
    assert [transfer["test_upscale"] for transfer in params["transfers"].values()] == [
        "bicubic",
        "sr_compact",
    ]
    for name, transfer in params["transfers"].items():
        test = transfer["test_upscale"]
        assert name == f"{key[:-3]}-test_{test}-s0"
        assert transfer["trained"] == key and transfer["train"] == cell["train"]
        assert transfer["store"] in params["upscaled"]


def test_detected_boxes_are_upscaled_too(tmp_path):
    (tmp_path / "found.json").touch()
    boxes = ["data=coco_dir", f"data.root={tmp_path}", "data.name=mine"]
    boxes += [f"data.detections={tmp_path}/found.json", "evaluate.boxes=detections"]
    params = plan([*ONE, *boxes, "upscale=sharp", "test_upscale=none,bicubic"])
    _, cell = only(params)
    sharp = "mine-64x48-sharp-256x192-detections"
    assert cell["detections"] == f"data/stores/{sharp}"
    assert params["stores"][sharp]["boxes"] == "detections"
    (transfer,) = params["transfers"].values()
    upscaled = "mine-64x48-bicubic-256x192-detections"
    assert transfer["detections"] == f"data/stores/{upscaled}"
    low = params["upscaled"][upscaled]["store"]
    assert low == "mine-64x48-detections"
    assert params["stores"][low]["boxes"] == "detections"


def test_any_weights_upscale_under_their_name(tmp_path):
    weights = tmp_path / "4x-Any.net.pth"
    weights.touch()
    grids = ["grid=super_resolution_spandrel", "grid=super_resolution"]
    params = plan([grids[0], "method=udp", f"upscale_weights={weights}"])
    store = "synthetic-64x48-spandrel_4x_Any_net-256x192"
    assert params["upscaled"][store]["weights"] == str(weights)
    names = {cell["upscale"] for cell in params["cells"].values()}
    assert names == {
        "none", "bicubic", "lanczos", "sr_compact", "spandrel_4x_Any_net", "sharp",
    }  # fmt: skip
    assert "spandrel_4x_Any_net" in {
        transfer["test_upscale"] for transfer in params["transfers"].values()
    }
    known = plan([grids[1], "method=udp"])["cells"]
    assert known.items() <= params["cells"].items(), "trained again under another name"


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["upscale=bicubic", "upscale_to=64x48"], "whole multiple of size=64x48"),
        (["upscale=bicubic", "upscale_to=128x192"], "same along both axes"),
        (["upscale=sharp", "upscale_to=100x96"], "multiples of 8"),
        (["upscale=bicubic", "store.oversample=2"], "store.oversample=2: expected 1"),
        (["upscale=spandrel"], "expected a file of weights"),
        (["upscale=spandrel", "upscale_weights=no/file"], "no/file: expected a file"),
        (["test_upscale=bicubic"], "upscale=none reads persons of another size"),
        (["upscale=sharp", "test_upscale=nothing"], "upscale/nothing"),
    ],
)
def test_wrong_upscaling_is_named(overrides, says):
    with pytest.raises(StageError, match=says):
        plan([*ONE, *overrides])
