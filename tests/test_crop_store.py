"""The low-resolution camera and the store: exact places, honest areas, whole files."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from plugins.datasets.crop_store import CropGeometry, CropStore
from plugins.datasets.prepared import Entries, open_split
from stages.downsample import downsample, make_geometry
from stages.downsample.camera import Photo, crop_to_image, cut
from stages.downsample.filters import area_weights
from stages.files import StageError
from tests.conftest import SIZES, STORE

BOX = np.array([[300.3, 150.7, 140.0, 260.0]])
"""A person in a photo of 800 x 600, image pixels."""


def spot(centre: np.ndarray, radius: float) -> np.ndarray:
    """Grey levels of a soft bright spot, ``(600, 800, 3)`` uint8."""
    y, x = np.mgrid[:600, :800]
    distance = (x - centre[0]) ** 2 + (y - centre[1]) ** 2
    level = np.rint(255 * np.exp(-distance / (2 * radius**2))).astype(np.uint8)
    return np.repeat(level[..., None], 3, axis=2)


def cut_from(
    photo: np.ndarray, affine: np.ndarray, geometry: CropGeometry
) -> np.ndarray:
    """Crop of a photo ``(h, w, 3)``."""
    whole = Photo(photo, (photo.shape[1], photo.shape[0]))
    return cut(whole, affine, geometry.crop_size)


def centroid(image: np.ndarray) -> np.ndarray:
    weight = image[..., 0].astype(float)
    y, x = np.mgrid[: weight.shape[0], : weight.shape[1]]
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


def to_crop_pixels(affine: np.ndarray, point: np.ndarray) -> np.ndarray:
    return (point - affine[:, 2]) / affine[[0, 1], [0, 1]]


@pytest.mark.parametrize("phase", np.linspace(0, 0.9, 4))
@pytest.mark.parametrize(
    ("size", "height"),
    [("32x24", 260), ("64x48", 260), ("64x48", 77), ("128x96", 197), ("256x192", 400),
     ("256x192", 120)],
)  # fmt: skip
def test_a_spot_lands_where_the_affine_says(geometry, size, height, phase):
    """Down to 1.5 image pixels per crop pixel, and up (256x192 of 120 pixels)."""
    box = np.array([[330.3 + phase, 170.7 - phase, 0.6 * height, height]])
    affine = crop_to_image(box, geometry(size), 1.25)[0]
    scale = affine[0, 0]
    photo = spot(np.array([355.0, 215.0]), 2 * max(scale, 1))
    seen = centroid(cut_from(photo, affine, geometry(size)))
    expected = to_crop_pixels(affine, centroid(photo))
    assert np.abs(seen - expected).max() < 0.02


@pytest.mark.parametrize("size", SIZES)
def test_areas_keep_their_mean_and_constants_stay(geometry, size):
    geometry = geometry(size)
    affine = crop_to_image(BOX, geometry, 1.25)[0]
    even = np.full((2000, 2000, 3), (10, 100, 200), np.uint8)
    inside = affine.copy()
    inside[:, 2] += 600
    crop = cut_from(even, inside, geometry)
    assert (crop == np.array([10, 100, 200])).all()
    photo = spot(np.array([360.0, 280.0]), 12)
    crop = cut_from(photo, affine, geometry)
    light = crop.sum(dtype=float) * affine[0, 0] * affine[1, 1]
    assert light == pytest.approx(photo.sum(dtype=float), rel=0.01)


def test_area_weights_count_cut_pixels_by_their_part():
    values = np.arange(8) * 10
    starts, index, weights = area_weights(1.5, 1.5, 3, 8.0)
    # [1.5, 3], [3, 4.5], [4.5, 6]
    expected = [(5 + 20) / 1.5, (30 + 20) / 1.5, (20 + 50) / 1.5]
    found = np.add.reduceat(weights * values[index], starts[:-1])
    assert found.tolist() == pytest.approx(expected)


def test_outside_the_photo_is_black(geometry):
    geometry = geometry("64x48")
    width, height = geometry.crop_size
    photo = np.full((600, 800, 3), 200, np.uint8)
    corner = crop_to_image(np.array([[0.0, 0.0, 90, 120]]), geometry, 1.25)[0]
    crop = cut_from(photo, corner, geometry)
    column, row = to_crop_pixels(corner, np.array([-0.5, -0.5]))
    assert 10 < column < width / 2 and 10 < row < height / 2
    assert (crop[: int(row)] == 0).all() and (crop[:, : int(column)] == 0).all()
    assert (crop[int(row) + 2 :, int(column) + 2 :] == 200).all()


def test_the_box_spans_the_first_and_last_pixel(geometry):
    """Unit lengths; of aspect 3:4, about the person's centre, 1.25 as large."""
    geometry = geometry("64x48", 2)
    affine = crop_to_image(BOX, geometry, 1.25)[0]
    corners = geometry.to_crop(np.array([[0.0, 0.0], [47, 63]]))
    corners = corners * affine[[0, 1], [0, 1]] + affine[:, 2]
    x, y, width, height = BOX[0]
    half = 1.25 * height / 2 * np.array([3 / 4, 1])
    centre = np.array([x + width / 2, y + height / 2])
    np.testing.assert_allclose(corners, [centre - half, centre + half], atol=1e-9)
    wide = crop_to_image(np.array([[0.0, 0, 300, 100]]), geometry, 1.25)[0]
    assert wide[0, 0] * 2 * 47 == pytest.approx(1.25 * 300)


@pytest.mark.parametrize("size", SIZES)
def test_oversampled_blocks_average_to_the_plain_crop(geometry, size):
    plain, fine = geometry(size), geometry(size, 4)
    x, y = np.meshgrid(np.arange(800), np.arange(600))
    waves = 128 + 100 * np.sin(x / 33 + y / 51) * np.cos(y / 39)
    photo = np.repeat(np.rint(waves)[..., None], 3, 2).astype(np.uint8)
    affines = [crop_to_image(BOX, g, 1.25)[0] for g in (plain, fine)]
    coarse = cut_from(photo, affines[0], plain).astype(float)
    width, height = plain.crop_size
    blocks = cut_from(photo, affines[1], fine).reshape(height, 4, width, 4, 3)
    difference = np.abs(blocks.mean(axis=(1, 3)) - coarse)
    # Below 4 image pixels per crop pixel the finer crop interpolates.
    limit = 1 if affines[1][0, 0] >= 1 else 1.5
    assert difference[2:-2, 2:-2].max() <= limit


@pytest.mark.parametrize("oversample", [1, 2])
def test_keypoints_return_to_the_photo(tiny_data, monkeypatch, tmp_path, oversample):
    monkeypatch.chdir(tiny_data)
    settings = STORE | {"size": "64x48", "oversample": oversample}
    downsample(settings, tmp_path / "store", 1)
    for split, persons in (("train", 16), ("val", 6)):
        store = CropStore(tmp_path / "store" / split)
        truth = {
            a["id"]: a for a in open_split(Path("data/tiny"), split).coco["annotations"]
        }
        assert len(store) == len(truth) == persons
        labels = [truth[i]["keypoints"] for i in store.annotation_id.tolist()]
        labels = np.array(labels).reshape(persons, 17, 3)
        labelled = labels[..., 2] > 0
        found = store.to_image_pixels(store.input_keypoints)
        assert np.abs(found - labels[..., :2])[labelled].max() < 1e-3
        assert (store.visible == labels[..., 2]).all()
        for name in ("image_id", "area", "bbox"):
            expected = [truth[i][name] for i in store.annotation_id.tolist()]
            np.testing.assert_array_equal(getattr(store, name), expected)


def test_inputs_are_the_crops_without_margin(tiny_data, monkeypatch, tmp_path):
    monkeypatch.chdir(tiny_data)
    stores = {}
    for oversample in (1, 2):
        settings = STORE | {"size": "32x24", "oversample": oversample}
        downsample(settings, tmp_path / str(oversample), 1)
        stores[oversample] = CropStore(tmp_path / str(oversample) / "val")
    plain, fine = stores[1], stores[2]
    assert plain.margin == 8 and plain.input_size == (24, 32)
    inputs = plain.inputs(slice(1, 4))
    np.testing.assert_array_equal(inputs, plain.crops[1:4, 8:40, 8:32])
    finer = fine.inputs(slice(1, 4)).astype(int)
    assert finer.shape == inputs.shape
    assert np.abs(finer - inputs).mean() < 2


@pytest.mark.parametrize("step", [2, 3, 4, 6])
def test_inputs_of_finer_crops_are_their_means(step):
    """Rounded to the nearest grey level, exactly."""
    store = CropStore.__new__(CropStore)
    store.geometry = CropGeometry((48, 64), 16, step)
    rng = np.random.default_rng(step)
    store.crops = rng.integers(0, 256, (3, 96 * step, 80 * step, 3), dtype=np.uint8)
    inner = store.crops[1:, 16 * step : 80 * step, 16 * step : 64 * step]
    means = inner.reshape(2, 64, step, 48, step, 3).mean(axis=(2, 4))
    np.testing.assert_array_equal(store.inputs(slice(1, 3)), np.rint(means))


def test_crowds_and_unlabelled_persons_are_left_out(tiny_data, monkeypatch, tmp_path):
    monkeypatch.chdir(tiny_data)
    scan = Entries.scan

    def spoilt(entries):
        annotations = 0
        for section, place, entry in scan(entries):
            if section == "annotations":
                annotations += 1
                entry["iscrowd"] = int(annotations == 1)
                entry["keypoints"] = (
                    [0] * 51 if annotations == 2 else entry["keypoints"]
                )
            yield section, place, entry

    monkeypatch.setattr(Entries, "scan", spoilt)
    manifest = downsample(STORE | {"size": "32x24"}, tmp_path / "store", 1)
    assert manifest["splits"] == {"train": {"persons": 14}, "val": {"persons": 4}}
    assert CropStore(tmp_path / "store/val").annotation_id.tolist() == [
        119,
        120,
        121,
        122,
    ]


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_unreadable_photo_is_named_and_leaves_no_store(
    tiny_data, tmp_path, monkeypatch, jobs
):
    shutil.copytree(tiny_data, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    photo = sorted(Path("photos/val").glob("*.jpg"))[1]
    photo.write_bytes(photo.read_bytes()[:300])
    with pytest.raises(StageError, match=f"{photo.name}: cannot be decoded.*again"):
        downsample(STORE | {"size": "32x24"}, Path("data/stores/new"), jobs)
    assert not Path("data/stores/new").exists()


def test_errors_of_settings_and_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StageError, match="'64x50'.*multiples of 8"):
        make_geometry(STORE | {"size": "64x50"})
    with pytest.raises(StageError, match="stages.prepare nowhere"):
        downsample(STORE | {"size": "32x24", "data": "nowhere"}, Path("store"), 1)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def store(tiny_work, tmp_path) -> Path:
    folder = tmp_path / "tiny-32x24"
    shutil.copytree(tiny_work / "data/stores/tiny-32x24", folder)
    assert len(CropStore(folder / "val")) == 6
    return folder


def cut_short(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def edit_manifest(folder: Path, change) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(change(manifest) or manifest))


def rewrite_table(path: Path, change) -> None:
    with np.load(path) as table:
        columns = dict(table)
    change(columns)
    np.savez(path, **columns)


SPOILT = {
    "no manifest": lambda s: (s / "manifest.json").unlink(),
    "half a manifest": lambda s: cut_short(s / "manifest.json", 0.5),
    "a list as manifest": lambda s: edit_manifest(s, lambda m: [1]),
    "no margin": lambda s: edit_manifest(s, lambda m: m.pop("margin") and None),
    "no hash": lambda s: edit_manifest(s, lambda m: m.pop("data_hash") and None),
    "no split": lambda s: edit_manifest(s, lambda m: m["splits"].pop("val") and None),
    "other count": lambda s: edit_manifest(
        s, lambda m: m["splits"]["val"].update(persons=7)
    ),
    "other size": lambda s: edit_manifest(s, lambda m: m.update(oversample=2)),
    "no crops": lambda s: (s / "val/crops.npy").unlink(),
    "empty crops": lambda s: cut_short(s / "val/crops.npy", 0),
    "half the crops": lambda s: cut_short(s / "val/crops.npy", 0.5),
    "no table": lambda s: (s / "val/table.npz").unlink(),
    "half a table": lambda s: cut_short(s / "val/table.npz", 0.5),
    "empty table": lambda s: cut_short(s / "val/table.npz", 0),
    "no column": lambda s: rewrite_table(s / "val/table.npz", lambda t: t.pop("area")),
    "short column": lambda s: rewrite_table(
        s / "val/table.npz", lambda t: t.update(area=t["area"][:-1])
    ),
}


@pytest.mark.parametrize("fault", SPOILT)
def test_a_spoilt_store_is_refused_with_the_remedy(store, fault):
    SPOILT[fault](store)
    with pytest.raises(ValueError, match="val.*python -m stages.downsample tiny-32x24"):
        CropStore(store / "val")


def test_the_error_names_the_missing_entry(store):
    SPOILT["no margin"](store)
    with pytest.raises(ValueError, match="no entry 'margin'"):
        CropStore(store / "val")


def test_the_padded_box_lies_in_the_box_that_is_shown(tiny_work):
    store = CropStore(tiny_work / "data/stores/tiny-32x24/train")
    padded = 1.25 * store.bbox[:, 2:]
    np.testing.assert_allclose(store.padded_share * store.box_sides, padded)
    np.testing.assert_allclose(store.box_sides[:, 0] / store.box_sides[:, 1], 24 / 32)
    assert store.padded_share.min() < 0.9
    assert (store.padded_share.max(axis=1) == 1).all()
