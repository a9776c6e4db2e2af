"""Photos decoded at reduced scale: the same places, nearly the same grey levels."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from stages.downsample.camera import (
    FINENESS,
    Photo,
    crop_to_image,
    cut,
    decode_jpeg,
    greatest_reduction,
    read_photo,
)
from stages.downsample.filters import area_weights, filter_pixels, linear_weights
from stages.files import StageError

SIZE = (997, 731)
"""Of the photos, px: no multiple of what a JPEG is made of."""


def write_jpeg(path: Path, pixels: np.ndarray, **options) -> Path:
    Image.fromarray(pixels).save(path, **{"quality": 92} | options)
    return path


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> Path:
    """Soft clouds of colour with sharp-edged shapes and grain."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    clouds = Image.fromarray(small).resize(SIZE, Image.Resampling.BICUBIC)
    for x, y, side in rng.integers((0, 0, 20), (*SIZE, 150), (40, 3)).tolist():
        colour = tuple(rng.integers(0, 256, 3).tolist())
        clouds.paste(colour, (x, y, x + side, y + 2 * side))
    pixels = np.asarray(clouds.filter(ImageFilter.GaussianBlur(0.7))).astype(float)
    grain = rng.normal(0, 5, pixels.shape)
    path = tmp_path_factory.mktemp("photos") / "photo.jpg"
    return write_jpeg(path, (pixels + grain).clip(0, 255).astype(np.uint8))


def boxes_of_scale(scale: float, corners: np.ndarray) -> np.ndarray:
    """Boxes ``(N, 4)`` that 64x48 shows with so many image pixels per crop pixel."""
    height = scale * 63 / 1.25
    return np.array([(x, y, 0.6 * height, height) for x, y in corners])


@pytest.mark.parametrize("reduction", [2, 4, 8])
@pytest.mark.parametrize("spare", [1.0, 1.37])
def test_reduced_decode_is_close_to_full_decode(photo, geometry, reduction, spare):
    """At the edges of the photo too, where the last pixel lies in it in part."""
    geometry = geometry("64x48")
    corners = np.array([(3.3, 4.4), (301.2, 200.9), (940.1, 703.6)])
    scale = reduction * FINENESS * spare + 0.01
    affines = crop_to_image(boxes_of_scale(scale, corners), geometry, 1.25)
    assert greatest_reduction(affines) == reduction
    full, reduced = read_photo(photo), read_photo(photo, reduction)
    assert reduced.reduction == reduction
    assert len(reduced.pixels) == -(-SIZE[1] // reduction)
    for affine in affines:
        crops = [cut(p, affine, geometry.crop_size) for p in (full, reduced)]
        difference = np.abs(crops[0].astype(int) - crops[1])
        assert crops[0].std() > 20
        assert difference.mean() < 1 and difference.max() <= 16


@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_reduced_decode_moves_nothing(tmp_path, geometry, reduction):
    """A hundredth of a crop pixel would be seen."""
    geometry = geometry("64x48")
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    scale = reduction * FINENESS
    light = np.exp(-((x - 400.3) ** 2 + (y - 300.8) ** 2) / (2 * (2.5 * scale) ** 2))
    pixels = np.repeat(np.rint(255 * light)[..., None], 3, 2).astype(np.uint8)
    path = write_jpeg(tmp_path / "spot.jpg", pixels, quality=98)
    corner = np.array([(390 - 20 * scale, 290 - 25 * scale)])
    affine = crop_to_image(boxes_of_scale(scale, corner), geometry, 1.25)[0]
    places = []
    for photo in (read_photo(path), read_photo(path, reduction)):
        crop = cut(photo, affine, geometry.crop_size)[..., 0].astype(float)
        rows, columns = np.indices(crop.shape)
        places.append([(crop * i).sum() / crop.sum() for i in (columns, rows)])
    assert np.abs(np.subtract(*places)).max() < 0.01


def test_the_smallest_person_decides_on_the_reduction(geometry):
    geometry = geometry("64x48")
    corner = np.zeros((1, 2))
    affines = [
        crop_to_image(boxes_of_scale(scale, corner), geometry, 1.25)
        for scale in (9 * FINENESS, 2.1 * FINENESS, 1.9 * FINENESS)
    ]
    assert greatest_reduction(affines[0]) == 8
    assert greatest_reduction(np.concatenate(affines[:2])) == 2
    assert greatest_reduction(np.concatenate(affines)) == 1
    # Along the other axis it would suffice.
    narrow = affines[0].copy()
    narrow[0, 0, 0] = 1.5
    assert greatest_reduction(narrow) == 1


def assert_decoded_as_by_pil(path: Path, reductions=(1, 2, 4, 8)):
    """Bit for bit, and it is not PIL that decoded."""
    for reduction in reductions:
        fast = decode_jpeg(path.read_bytes(), reduction)
        with Image.open(path) as image:
            if reduction > 1:
                image.draft(None, tuple(side // reduction for side in image.size))
            slow = np.array(image.convert("RGB"))
        assert np.array_equal(fast.pixels, slow), (path, reduction)
        with Image.open(path) as image:
            expected = tuple(side / reduction for side in image.size)
        assert (fast.extent, fast.reduction) == (expected, reduction)


@pytest.mark.parametrize("size", [(33, 50), (201, 99)])
@pytest.mark.parametrize(
    "options",
    [{"subsampling": s, "progressive": p} for s in range(3) for p in (False, True)]
    + [{"keep_rgb": True}, {"restart_marker_rows": 1}, {"quality": 5}],
)
def test_jpegs_are_decoded_as_by_pil(tmp_path, photo, size, options):
    path = tmp_path / "part.jpg"
    with Image.open(photo) as image:
        image.crop((90, 70, 90 + size[0], 70 + size[1])).save(path, **options)
    assert_decoded_as_by_pil(path)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (7, 7), (9, 6)])
def test_tiny_jpegs_are_decoded_as_by_pil(tmp_path, photo, size):
    path = tmp_path / "part.jpg"
    with Image.open(photo) as image:
        image.crop((90, 70, 90 + size[0], 70 + size[1])).save(path)
    assert_decoded_as_by_pil(path, (1,))


def test_grey_jpegs_are_decoded_as_by_pil(tmp_path, photo):
    with Image.open(photo) as image:
        image.resize((90, 60)).convert("L").save(tmp_path / "grey.jpg")
    assert_decoded_as_by_pil(tmp_path / "grey.jpg")


def test_what_is_left_to_pil(tmp_path, photo, monkeypatch):
    """Other colours and formats, whole at any reduction, and what may be a bomb."""
    with Image.open(photo) as image:
        small = image.resize((90, 60))
    small.convert("CMYK").save(tmp_path / "photo.jpg")
    small.save(tmp_path / "photo.png")
    for path in (tmp_path / "photo.jpg", tmp_path / "photo.png"):
        assert decode_jpeg(path.read_bytes(), 2) is None
        left = read_photo(path, 2)
        assert (left.reduction, left.extent) == (1, (90, 60))
        with Image.open(path) as image:
            assert np.array_equal(left.pixels, np.array(image.convert("RGB")))
    small.save(tmp_path / "photo.jpg")
    assert decode_jpeg((tmp_path / "photo.jpg").read_bytes(), 2) is not None
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 90 * 60 // 2 - 1)
    assert decode_jpeg((tmp_path / "photo.jpg").read_bytes(), 2) is None
    with pytest.raises(StageError, match=r"photo.jpg: cannot be decoded \(.*bomb"):
        read_photo(tmp_path / "photo.jpg", 2)


def test_real_photos_are_decoded_as_by_pil():
    if "POSE_REAL_DATA" not in os.environ:
        pytest.skip("POSE_REAL_DATA does not name the folder of real photos")
    photos = sorted(Path(os.environ["POSE_REAL_DATA"]).glob("*_mini/train/*.jpg"))
    assert photos
    for path in photos[:: max(len(photos) // 60, 1)]:
        assert_decoded_as_by_pil(path, (1, 2))


@pytest.mark.parametrize("low", [-7.3, -40.0, 0.0, 2.5, 11.9, 30.0])
@pytest.mark.parametrize("scale", [1.0, 1.3, 4.0, 6.7])
@pytest.mark.parametrize("extent", [20, 19.25])
def test_area_weights_are_the_parts_that_intervals_cover(low, scale, extent):
    """Beside the image, across its edges and where its last pixel is in it in part."""
    starts, index, weights = area_weights(low, scale, 5, float(extent))
    found = np.zeros((5, 20))
    np.add.at(found, (np.repeat(np.arange(5), np.diff(starts)), index), weights)
    begin, pixel = low + scale * np.arange(5)[:, None], np.arange(20)
    covered = np.minimum(np.minimum(begin + scale, extent), pixel + 1)
    covered = np.maximum(covered - np.maximum(begin, pixel), 0)
    np.testing.assert_allclose(found, covered / scale, atol=1e-6)


@pytest.mark.parametrize("weigh", [area_weights, linear_weights])
@pytest.mark.parametrize("low", [-3.7, 0.0, 4.25, 60.0])
def test_filtering_is_a_product_with_the_weights(weigh, low):
    """Beside the image too."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 31, 3), dtype=np.uint8)
    rows, columns = weigh(low, 2.3, 6, 20.0), weigh(low, 1.9, 9, 31.0)
    dense = [np.zeros((6, 20)), np.zeros((9, 31))]
    for matrix, (starts, index, weights) in zip(dense, (rows, columns), strict=True):
        places = np.repeat(np.arange(len(matrix)), np.diff(starts)), index
        np.add.at(matrix, places, weights)
    expected = np.einsum("yi,xj,ijc->yxc", *dense, pixels.astype(float))
    found = filter_pixels(pixels, rows, columns)
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found, expected, atol=0.501)


def test_exif_orientation_is_ignored(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((16, 24, 3), np.uint8)
    path = write_jpeg(tmp_path / "turned.jpg", pixels, exif=exif)
    assert read_photo(path).pixels.shape == (16, 24, 3)


@pytest.mark.parametrize("reduction", [1, 8])
def test_damaged_and_missing_photos_are_named(tmp_path, photo, reduction):
    short = tmp_path / "short.jpg"
    short.write_bytes(photo.read_bytes()[:9000])
    for path in (short, tmp_path / "none.jpg"):
        with pytest.raises(StageError, match=f"{path.name}: cannot be decoded.*again"):
            read_photo(path, reduction)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_photo_cut_short_anywhere_is_refused(tmp_path, photo, progressive):
    path = tmp_path / "short.jpg"
    with Image.open(photo) as image:
        image.resize((90, 60)).save(path, progressive=progressive)
    content = path.read_bytes()
    for length in [*range(0, len(content) - 9, 97), *range(-9, -2)]:
        path.write_bytes(content[:length])
        assert decode_jpeg(content[:length], 1) is None
        with pytest.raises(StageError, match="cannot be decoded"):
            read_photo(path)


def test_a_crop_beside_the_photo_is_black(geometry):
    geometry = geometry("64x48")
    beside = crop_to_image(np.array([[900.0, 900, 60, 100]]), geometry, 1.25)[0]
    white = Photo(np.full((50, 60, 3), 255, np.uint8), (60, 50))
    assert not cut(white, beside, geometry.crop_size).any()
