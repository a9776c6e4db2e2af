"""The upscale stage: geometry that follows exactly, upscalers, training of one."""

import json
import pickle
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from spandrel.architectures.Compact import Compact
from spandrel.architectures.ESRGAN import ESRGAN
from spandrel.architectures.SAFMN import SAFMN
from spandrel.architectures.SPAN import SPAN
from spandrel.architectures.SwinIR import SwinIR

from plugins.datasets.crop_store import CropGeometry, CropStore
from stages.downsample import downsample
from stages.files import StageError
from stages.upscale import train as training
from stages.upscale.network import enlarge, load_network
from stages.upscale.pairs import open_pairs
from stages.upscale.resample import count_gmacs, resample
from stages.upscale.store import upscale, upscale_columns
from stages.upscale.upscalers import build_upscaler
from tests.conftest import STORE
from tests.test_faults import mount

FACTOR = 2
LOW, SHARP = "tiny-32x24", "tiny-32x24-sharp-64x48"
BICUBIC = {"data": "tiny", "store": LOW, "name": "bicubic", "to": "64x48"}
BICUBIC |= {"batch_size": 4}
NETWORK = BICUBIC | {"name": "spandrel", "tile": 128, "overlap": 16}
TRAINING = {
    "low": LOW,
    "sharp": SHARP,
    "factor": FACTOR,
    "network": {"features": 8, "convolutions": 1},
    "training": {
        "seed": 0, "steps": 40, "batch_size": 4, "patch": 16, "learning_rate": 0.003,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def stores(tiny_work) -> Path:
    """``data/stores`` with the low-resolution store and the sharp one of its frame."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tiny_work)
        settings = STORE | {"size": "32x24", "oversample": FACTOR, "as_input": True}
        downsample(settings, Path("data/stores") / SHARP, 1)
    return tiny_work / "data/stores"


@pytest.fixture
def work(stores, tmp_path, monkeypatch) -> Path:
    """A folder of its own to run the stage in, with those stores."""
    (tmp_path / "data").mkdir()
    shutil.copytree(stores, tmp_path / "data/stores")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(settings: dict, name: str = "up") -> tuple[Path, dict]:
    folder = Path("data/stores") / name
    return folder, upscale(settings, folder, Path("runs") / name / "upscaler.json")


def weights_file(path: Path, scale: int = FACTOR, channels: int = 3) -> Path:
    torch.manual_seed(1)
    network = Compact(
        num_in_ch=channels, num_out_ch=channels, num_feat=4, num_conv=1, upscale=scale
    )
    state = network.state_dict()
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"params": state}, path)
    return path


def test_keypoints_affines_and_areas_follow(work):
    folder, _ = run(BICUBIC)
    for split in ("train", "val"):
        low = CropStore(work / "data/stores" / LOW / split)
        sharp = CropStore(work / "data/stores" / SHARP / split)
        grown = CropStore(folder / split)
        labelled = grown.visible > 0
        image = grown.to_image_pixels(grown.input_keypoints)
        truth = low.to_image_pixels(low.input_keypoints)
        assert np.abs(image - truth)[labelled].max() < 1e-4
        assert grown.geometry == sharp.geometry
        assert grown.crops.shape == sharp.crops.shape
        for name in ("keypoints", "to_image"):
            np.testing.assert_allclose(getattr(grown, name), getattr(sharp, name))
        for name in ("annotation_id", "image_id", "visible", "area", "bbox"):
            np.testing.assert_array_equal(getattr(grown, name), getattr(low, name))
        assert (grown.keypoints[~labelled] == 0).all()
    assert grown.data_hash == low.data_hash
    assert grown.input_size == (48, 64)


@pytest.mark.parametrize("how", ["bicubic", "lanczos"])
@pytest.mark.parametrize("factor", [2, 4])
def test_what_is_at_a_keypoint_stays_at_the_keypoint(how, factor):
    """The centre of a blob is where the table says, in the pixels of both sizes."""
    place = np.array([9.3, 13.6])
    y, x = np.mgrid[0:28, 0:20]
    blob = np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / 6)
    image = torch.from_numpy(np.repeat(200 * blob[None, ..., None], 3, -1))
    upscaler = build_upscaler(BICUBIC | {"name": how}, factor)
    grown = upscaler(image.round().to(torch.uint8)).numpy()[0, ..., 0].astype(float)
    y, x = np.mgrid[0 : 28 * factor, 0 : 20 * factor]
    found = np.array([(grown * x).sum(), (grown * y).sum()]) / grown.sum()
    table = {"keypoints": place[None, None], "visible": np.full((1, 1), 2)}
    table["to_image"] = np.zeros((1, 2, 3))
    wanted = upscale_columns(table, factor)["keypoints"][0, 0]
    np.testing.assert_allclose(found, wanted, atol=0.03)


@pytest.mark.parametrize("how", ["bicubic", "lanczos"])
def test_interpolation_is_pillows(how):
    plane = np.random.default_rng(0).uniform(0, 1, (12, 9)).astype(np.float32)
    filters = {"bicubic": Image.BICUBIC, "lanczos": Image.LANCZOS}
    wanted = Image.fromarray(plane).resize((36, 48), filters[how])
    ours = resample(torch.from_numpy(plane)[None, None], (36, 48), how)[0, 0]
    np.testing.assert_allclose(ours, np.asarray(wanted), atol=1e-5)


def test_the_same_store_is_the_same_bytes(work):
    first, _ = run(BICUBIC)
    second, _ = run(BICUBIC | {"batch_size": 3}, "again")
    for name in ("train/table.npz", "train/crops.npy", "val/crops.npy"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_the_cost_and_the_network_are_told(work):
    weights = weights_file(work / "net.pth")
    folder, spent = run(NETWORK | {"weights": str(weights)})
    assert spent["architecture"] == "RealESRGAN Compact 4nf 1nc"
    assert spent["scale"] == 2
    convolutions = 4 * 27 + 4 * 36 + 12 * 36
    assert spent["gmacs"] == pytest.approx(32 * 24 * convolutions / 1e9, rel=0.1)
    assert spent["ms_per_person"] > 0
    assert json.loads(Path("runs/up/upscaler.json").read_text()) == spent
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["upscale"]["weights_sha256"] == spent["weights_sha256"]
    assert "ms_per_person" not in manifest["upscale"], "no two runs would be equal"
    by_hand = 3 * 4 * 48 * (32 + 64) / 1e9
    assert count_gmacs((24, 32), (48, 64), "bicubic") == pytest.approx(by_hand)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("scale", [2, 4])
def test_any_weights_and_any_scale(work, suffix, scale):
    weights = weights_file(work / f"net{suffix}", scale)
    folder, spent = run(NETWORK | {"weights": str(weights)})
    assert spent["scale"] == scale
    store = CropStore(folder / "val")
    assert store.crops.shape == (6, 96, 80, 3)
    low = CropStore(Path("data/stores") / LOW / "val")
    pixels = torch.from_numpy(low.crops[:2].copy()).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        grown = load_network(weights)(pixels)
    grown = resample(grown, (80, 96), "bicubic") if scale == 4 else grown
    wanted = (255 * grown.clamp(0, 1)).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(store.crops[:2], wanted, atol=0.6)


@pytest.mark.parametrize(
    ("network", "wrapper"),
    [
        (lambda: ESRGAN(num_filters=4, num_blocks=1, scale=2), None),
        (
            lambda: SPAN(num_in_ch=3, num_out_ch=3, feature_channels=8, upscale=2),
            "params_ema",
        ),
        (lambda: SAFMN(dim=8, n_blocks=1, upscaling_factor=2), "params"),
        (
            lambda: SwinIR(
                depths=[2], num_heads=[2], embed_dim=8, window_size=8, upscale=2,
                upsampler="pixelshuffledirect",
            ),
            "state_dict",
        ),
    ],
    ids=["ESRGAN", "SPAN", "SAFMN", "SwinIR"],
)  # fmt: skip
def test_networks_of_other_architectures(work, request, network, wrapper):
    """As they are published: with windows, least sizes, and names around them."""
    torch.manual_seed(0)
    state = network().state_dict()
    torch.save({wrapper: state} if wrapper else state, work / "net.pth")
    folder, spent = run(NETWORK | {"weights": "net.pth", "tile": 40, "overlap": 8})
    assert spent["architecture"].startswith(request.node.callspec.id)
    assert spent["scale"] == 2
    assert CropStore(folder / "val").crops.shape == (6, 96, 80, 3)


def test_tiles_give_what_the_whole_image_gives(tmp_path):
    network = load_network(weights_file(tmp_path / "net.pth"))
    images = torch.rand(2, 3, 50, 41, generator=torch.Generator().manual_seed(0))
    seen = []
    network.model.register_forward_pre_hook(
        lambda _, inputs: seen.append(max(inputs[0].shape[2:]))
    )
    with torch.no_grad():
        tiled = enlarge(network, images, tile=20, overlap=4)
        assert max(seen) == 20 and len(seen) == 5 * 4
        torch.testing.assert_close(tiled, network(images))


class Harmful:
    def __reduce__(self):
        return (Path.touch, (Path("harmed"),))


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lambda p: p.write_bytes(pickle.dumps(Harmful())), "cannot be read as weights"),
        (lambda p: torch.save(Harmful(), p), "cannot be read as weights"),
        (lambda p: torch.jit.script(torch.nn.ReLU()).save(p), "expected tensors alone"),
        (lambda p: p.write_bytes(b"PK\3\4"), "cannot be read as weights"),
        (lambda p: torch.save(torch.ones(2), p), "net.pth"),
        (lambda p: torch.save({"x": torch.ones(2)}, p), "no network that spandrel"),
        (lambda p: weights_file(p, channels=1), "expected a network that enlarges RGB"),
        (lambda p: weights_file(p, scale=1), "expected a network that enlarges RGB"),
        (lambda p: None, "net.pth: not found"),
    ],
)
def test_unfit_weights_are_refused(work, write, says):
    path = work / "net.pth"
    write(path)
    with pytest.raises(StageError, match=says):
        run(NETWORK | {"weights": str(path)})
    assert not Path("harmed").exists()
    assert {one.name for one in Path("data/stores").iterdir()} == {LOW, SHARP}


def test_unfit_stores_are_refused(work):
    with pytest.raises(StageError, match="no/store: not a readable crop store"):
        run(BICUBIC | {"store": "no/store"})
    crops = Path("data/stores") / LOW / "val/crops.npy"
    crops.write_bytes(crops.read_bytes()[:-100])
    with pytest.raises(StageError, match="stages.downsample tiny-32x24"):
        run(BICUBIC)
    assert not Path("data/stores/up").exists()


def test_a_full_disk_leaves_nothing(work):
    disk = work / "disk"
    mount(disk, "size=100k")
    try:
        with pytest.raises(StageError, match="No space left.*make room on its disk"):
            upscale(BICUBIC, disk / "up", Path("runs/up/upscaler.json"))
        assert not list(disk.iterdir()) and not Path("runs").exists()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_pairs_are_of_the_same_persons(work):
    pairs = open_pairs(TRAINING, "train")
    low, sharp = pairs.draw(3, TRAINING["training"])
    assert low.shape == (4, 16, 16, 3) and sharp.shape == (4, 32, 32, 3)
    means = sharp.reshape(4, 16, 2, 16, 2, 3).float().mean((2, 4))
    # The camera takes means: what is left is rounding, and where a crop magnifies.
    assert (means - low).abs().mean() < 2
    again = open_pairs(TRAINING, "train").draw(3, TRAINING["training"])
    torch.testing.assert_close(again, (low, sharp))
    assert not torch.equal(pairs.draw(4, TRAINING["training"])[0], low)
    with pytest.raises(StageError, match="not the same persons at 4 times the size"):
        open_pairs(TRAINING | {"factor": 4}, "train")


def test_training_beats_where_it_starts_and_never_sees_val(work):
    long = TRAINING["training"] | {"steps": 400}
    quality = training.train("sr", TRAINING | {"training": long}, Path("runs/sr"))
    assert set(quality) == {"network", "bicubic"}
    assert quality["network"]["psnr"] > quality["bicubic"]["psnr"] + 1
    assert quality == json.loads(Path("runs/sr/quality.json").read_text())
    assert not list(Path(".work").rglob("state.pth"))
    crops = np.load(Path("data/stores") / SHARP / "val/crops.npy", mmap_mode="r+")
    crops[:] = 0
    first = torch.load("runs/sr/checkpoint.pth", weights_only=True)["params"]
    training.train("sr", TRAINING | {"training": long}, Path("runs/again"))
    second = torch.load("runs/again/checkpoint.pth", weights_only=True)["params"]
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    _, spent = run(NETWORK | {"weights": "runs/sr/checkpoint.pth"})
    assert spent["architecture"] == "RealESRGAN Compact 8nf 1nc"


def test_a_killed_training_goes_on_to_the_same_weights(work, monkeypatch, capsys):
    monkeypatch.setattr(training, "LOG_STEPS", 10)
    monkeypatch.setattr(training, "SAVE_SECONDS", 0)
    training.train("sr", TRAINING, Path("runs/whole"))
    draws = []

    def draw(pairs, step, settings, own=training.Pairs.draw):
        draws.append(step)
        if len(draws) == 26:
            raise KeyboardInterrupt
        return own(pairs, step, settings)

    monkeypatch.setattr(training.Pairs, "draw", draw)
    with pytest.raises(KeyboardInterrupt):
        training.train("sr", TRAINING, Path("runs/sr"))
    training.train("sr", TRAINING, Path("runs/sr"))
    assert "going on after step 20" in capsys.readouterr().out
    assert draws[26:] == list(range(20, 40))
    for name in ("checkpoint.pth", "history.csv"):
        whole, resumed = (Path("runs") / run / name for run in ("whole", "sr"))
        if name.endswith("csv"):
            assert whole.read_text() == resumed.read_text()
        else:
            loaded = [torch.load(p, weights_only=True) for p in (whole, resumed)]
            torch.testing.assert_close(*(one["params"] for one in loaded))


def test_sharp_is_the_finer_store_read_pixel_by_pixel(stores, tiny_work, monkeypatch):
    monkeypatch.chdir(tiny_work)
    settings = STORE | {"size": "32x24", "oversample": FACTOR}
    downsample(settings, Path("data/stores/fine"), 1)
    fine, sharp = CropStore(stores / "fine/val"), CropStore(stores / SHARP / "val")
    np.testing.assert_array_equal(fine.crops, sharp.crops)
    np.testing.assert_array_equal(fine.to_image, sharp.to_image)
    assert fine.geometry == CropGeometry((24, 32), 8, 2)
    assert sharp.geometry == CropGeometry((48, 64), 16, 1)
    truth = fine.to_image_pixels(fine.input_keypoints)
    np.testing.assert_allclose(sharp.to_image_pixels(sharp.input_keypoints), truth)
    shutil.rmtree(stores / "fine")
