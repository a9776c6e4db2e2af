"""Augmentation: one affine per person that moves image and keypoints alike."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from mmpose.structures.bbox import get_udp_warp_matrix
from torchvision.transforms.functional import adjust_saturation

from plugins.datasets.augment import (
    DRAWS,
    AugmentSettings,
    augment_persons,
    sample_affines,
    sample_colours,
    transform_keypoints,
)
from plugins.datasets.keypoint_sets import COCO17
from plugins.datasets.preprocessor import DEVIATION, MEAN, CropPreprocessor
from plugins.datasets.warp import blend_, change_colours, smooth_, warp

SETTINGS = AugmentSettings(
    flip=0.5, half_body=0.3, half_body_keypoints=8, upper_body=0.7, scale=0.35,
    rotation=45, rotate=0.6,
)  # fmt: skip
NEUTRAL = dict(
    flip=0.99, half_body=0.99, upper_body=0.5, scale=0.5, rotate=0.99,
    shift=0.99, shift_x=0.5, shift_y=0.5, brightness=0.5, contrast=0.5, saturation=0.5,
)  # fmt: skip
"""Draws that leave a person as it is."""
SIZE = (48, 64)


def draws_of(persons: int = 1, **values) -> torch.Tensor:
    chosen = NEUTRAL | {"angle": 0.5} | values
    columns = [torch.as_tensor(chosen[name]).expand(persons) for name in DRAWS]
    return torch.stack(columns, -1).float()


def sample(geometry, keypoints, visible, draws, settings=SETTINGS):
    box = torch.ones(len(draws), 2)
    return sample_affines(
        draws, keypoints, visible, box, COCO17.lower_body, geometry, settings
    )


def people(persons: int = 1, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Keypoints all over the input, all labelled."""
    generator = torch.Generator().manual_seed(seed)
    keypoints = torch.rand(persons, 17, 2, generator=generator)
    return keypoints * torch.tensor([47.0, 63.0]), torch.full((persons, 17), 2)


def uniform_of(normal: float) -> float:
    return float(torch.special.ndtr(torch.tensor(normal, dtype=torch.float64)))


def move(affines, keypoints, flipped=None):
    """Keypoints of the original in the augmented image."""
    flipped = (
        torch.zeros(len(affines), dtype=torch.bool) if flipped is None else flipped
    )
    visible = torch.ones(keypoints.shape[:2])
    return transform_keypoints(
        affines, flipped, keypoints, visible, COCO17.flip_indices
    )[0]


def test_neutral_draws_give_the_identity(geometry):
    affines, flipped = sample(geometry("64x48"), *people(3), draws_of(3))
    identity = torch.eye(2, 3).expand(3, 2, 3)
    torch.testing.assert_close(affines, identity, atol=1e-5, rtol=0)
    assert not flipped.any()


def test_a_flip_mirrors_and_renames(geometry):
    keypoints, visible = people()
    visible[0, 5] = 0
    affines, flipped = sample(geometry("64x48"), keypoints, visible, draws_of(flip=0.1))
    moved, seen = transform_keypoints(
        affines, flipped, keypoints, visible, COCO17.flip_indices
    )
    left, right = (COCO17.names.index(f"{side}_shoulder") for side in ("left", "right"))
    assert flipped.all()
    assert float(moved[0, left, 0]) == pytest.approx(
        47 - float(keypoints[0, right, 0]), abs=1e-4
    )
    assert float(moved[0, left, 1]) == pytest.approx(
        float(keypoints[0, right, 1]), abs=1e-4
    )
    assert seen[0, right] == 0 and seen[0, left] == 2
    image = torch.rand(1, 3, *geometry("64x48").crop_size[::-1])
    plain = warp(image, torch.eye(2, 3)[None], geometry("64x48"))
    mirrored = warp(image, affines, geometry("64x48"))
    torch.testing.assert_close(mirrored, plain.flip(-1), atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", ["32x24", "64x48", "256x192"])
@pytest.mark.parametrize(
    ("angle", "scale"), [(0, 0), (1, 0), (-2, 0), (0, 1), (0.7, -1), (1.3, 0.4)]
)
def test_keypoints_move_as_with_mmpose(geometry, size, angle, scale):
    """Angle and scale in deviations; a person's box of 3:4 somewhere in a photo.

    MMPose counts angles the other way round, of which a normal number knows nothing.
    """
    geometry = geometry(size)
    width, height = geometry.input_size
    keypoints = (
        people()[0] / torch.tensor([47, 63]) * torch.tensor([width - 1.0, height - 1.0])
    )
    draws = draws_of(rotate=0.0, angle=uniform_of(angle), scale=uniform_of(scale))
    affines, flipped = sample(geometry, keypoints, torch.ones(1, 17), draws)
    box = np.array([150.0, 200.0])
    centre = np.array([310.0, 220.0])
    photo = centre - box / 2 + keypoints[0].numpy() * box / [width - 1, height - 1]
    factor = 1 + SETTINGS.scale * scale
    matrix = get_udp_warp_matrix(
        centre.astype(np.float32),
        (box * factor).astype(np.float32),
        -SETTINGS.rotation * angle,
        (width, height),
    )
    expected = photo @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(move(affines, keypoints)[0], expected, atol=1e-3)


def blob(crop_size, centre, radius) -> torch.Tensor:
    """A smooth bright spot at a crop pixel, ``(1, 3, H, W)``."""
    width, height = crop_size
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    distance = (x - centre[0]).square() + (y - centre[1]).square()
    return torch.exp(-distance / (2 * radius**2)).expand(1, 3, height, width)


def centroid(image: torch.Tensor) -> np.ndarray:
    weight = image[0, 0].double()
    y, x = torch.meshgrid(*(torch.arange(n) for n in weight.shape), indexing="ij")
    return np.array([float((weight * v).sum() / weight.sum()) for v in (x, y)])


@pytest.mark.parametrize("oversample", [1, 2])
@pytest.mark.parametrize("flip", [0.1, 0.9])
@pytest.mark.parametrize(
    ("angle", "scale"), [(0, 0), (0.5, -1), (-1, 1), (1.7, 0.3), (2, 0)]
)
def test_image_and_keypoints_move_together(geometry, oversample, flip, angle, scale):
    geometry = geometry("64x48", oversample)
    keypoints = torch.tensor([20.3, 36.6]).expand(1, 17, 2)
    place = geometry.to_crop(keypoints[0, 0].numpy())
    crops = blob(geometry.crop_size, place, 1.5 * oversample)
    draws = draws_of(
        flip=flip, rotate=0.0, angle=uniform_of(angle), scale=uniform_of(scale)
    )
    affines, flipped = sample(geometry, keypoints, torch.ones(1, 17), draws)
    seen = centroid(warp(crops, affines, geometry))
    expected = move(affines, keypoints, flipped)[0, 0]
    assert np.abs(seen - expected.numpy()).max() < 0.1


def test_half_body_shows_the_chosen_joints_whole(geometry):
    generator = torch.Generator().manual_seed(0)
    keypoints, visible = people(300)
    visible *= torch.rand(300, 17, generator=generator) > 0.4
    lower = torch.zeros(17, dtype=torch.bool)
    lower[list(COCO17.lower_body)] = True
    labelled = visible > 0
    enough = labelled.sum(1) > SETTINGS.half_body_keypoints
    for draw, part in ((0.1, ~lower), (0.9, lower)):
        draws = draws_of(300, half_body=0.1, upper_body=draw)
        affines, _ = sample(geometry("64x48"), keypoints, visible, draws)
        moved = move(affines, keypoints)
        chosen = labelled & part & enough[:, None]
        chosen &= (chosen.sum(1) > 2)[:, None]
        size = torch.tensor([47.0, 63.0])
        inside = ((moved > -0.26 * size) & (moved < 1.26 * size)).all(-1)
        assert inside[chosen].all()
        centres = (moved * chosen[..., None]).sum(1) / chosen.sum(1).clamp_min(1)[
            :, None
        ]
        shown = chosen.any(1)
        torch.testing.assert_close(
            centres[shown], (size / 2).expand_as(centres[shown]), atol=1e-3, rtol=0
        )
        extent = moved.masked_fill(~chosen[..., None], -9e9).amax(1)
        extent -= moved.masked_fill(~chosen[..., None], 9e9).amin(1)
        share = (extent / size).amax(1)[shown]
        torch.testing.assert_close(share, torch.full_like(share, 1 / 1.5))
        whole = affines[~enough]
        identity = torch.eye(2, 3).expand_as(whole)
        assert 0 < len(whole) < 300
        torch.testing.assert_close(whole, identity, atol=1e-5, rtol=0)


def test_strengths_are_distributed_as_in_hrnet(geometry):
    persons = 20000
    keypoints, visible = people()
    keypoints, visible = keypoints.expand(persons, 17, 2), visible.expand(persons, 17)
    draws = torch.rand(persons, len(DRAWS), generator=torch.Generator().manual_seed(0))
    settings = replace(SETTINGS, half_body=0.0)
    affines, flipped = sample(geometry("64x48"), keypoints, visible, draws, settings)
    # Back to square pixels: the box spans 3 x 4.
    pixel = torch.tensor([3 / 47, 4 / 63])
    linear = affines[:, :, :2] * pixel[None, :, None] / pixel[None, None, :]
    linear[flipped, :, 0] *= -1
    scale = torch.linalg.det(linear).sqrt()
    angle = torch.rad2deg(torch.atan2(linear[:, 1, 0], linear[:, 0, 0]))
    assert flipped.float().mean() == pytest.approx(0.5, abs=0.02)
    assert 0.65 - 1e-4 <= scale.min() and scale.max() <= 1.35 + 1e-4
    assert (scale > 1.3499).float().mean() == pytest.approx(0.159, abs=0.01)
    unrotated = angle.abs() < 1e-3
    assert unrotated.float().mean() == pytest.approx(0.4, abs=0.015)
    assert angle.abs().max() <= 90 + 1e-2
    assert angle[~unrotated].std() == pytest.approx(45 * 0.96, abs=1.5)


def test_oversampling_samples_the_same_places(geometry):
    """A smooth picture, described in input pixels, drawn at both densities."""

    def picture(geometry):
        width, height = geometry.crop_size
        points = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1)
        x, y = geometry.to_input(points).transpose(2, 0, 1)
        waves = 128 + 60 * np.sin(x / 9) * np.cos(y / 11 + 1)
        return torch.tensor(waves, dtype=torch.float32).expand(1, 3, height, width)

    draws = draws_of(rotate=0.0, angle=uniform_of(0.5), scale=uniform_of(-0.6))
    affines, _ = sample(geometry("64x48"), *people(), draws)
    coarse, fine = (
        warp(picture(g), affines, g) for g in (geometry("64x48"), geometry("64x48", 2))
    )
    assert (coarse - fine).abs().max() < 0.5


def test_outside_the_crop_is_black(geometry):
    geometry = geometry("64x48")
    far = torch.tensor([[[1.0, 0.0, 500.0], [0.0, 1.0, 0.0]]])
    crops = torch.full((1, 3, *geometry.crop_size[::-1]), 255.0)
    assert (warp(crops, far, geometry) == 0).all()


def test_the_preprocessor_normalises_and_keeps_labels(geometry):
    geometry = geometry("64x48")
    preprocessor = CropPreprocessor(geometry, COCO17)
    width, height = geometry.crop_size
    keypoints, visible = people(2)
    colour = torch.tensor([10, 100, 200], dtype=torch.uint8)
    batch = dict(
        crops=colour.expand(2, height, width, 3),
        affines=torch.eye(2, 3).expand(2, 2, 3),
        keypoints=keypoints,
        visible=visible,
    )
    out = preprocessor(batch, training=True)
    expected = (colour.float() - torch.tensor(MEAN)) / torch.tensor(DEVIATION)
    assert out["inputs"].shape == (2, 3, 64, 48)
    torch.testing.assert_close(out["inputs"][1, :, 30, 20], expected)
    assert out["data_samples"] == {"keypoints": keypoints, "visible": visible}


def stripes(geometry, period: float) -> torch.Tensor:
    """Vertical stripes of so many crop pixels, ``(1, 3, H, W)`` from 0 to 255."""
    width, height = geometry.crop_size
    wave = 127.5 + 127.5 * torch.cos(2 * torch.pi * torch.arange(width) / period)
    return wave.expand(1, 3, height, width)


@pytest.mark.parametrize("zoom", [1.35, 1.8, 2.5])
def test_what_shrinks_is_smoothed_first(geometry, zoom):
    """Stripes too fine for the input fade; without smoothing they become others."""
    geometry = geometry("64x48")
    affine = torch.tensor([[[zoom, 0.0, 0.0], [0.0, zoom, 0.0]]])
    middle = torch.tensor(geometry.input_size) / 2 - 0.5
    affine[0, :, 2] = middle - zoom * middle
    view = (..., slice(20, 44), slice(16, 32))
    fine = warp(stripes(geometry, 2.2), affine, geometry)[view].std()
    unsmoothed = 127.5 / 2**0.5
    assert fine < {1.35: 0.92, 1.8: 0.75, 2.5: 0.4}[zoom] * unsmoothed
    coarse = warp(stripes(geometry, 12 * zoom), affine, geometry)[view].std()
    assert coarse > 0.9 * unsmoothed


def test_what_grows_is_not_smoothed(geometry):
    crops = torch.rand(2, 3, 96, 80)
    affines = torch.eye(2, 3)[None] * torch.tensor([1.0, 0.7])[:, None, None]
    assert (smooth_(crops.clone(), affines) == crops).all()


def test_each_person_is_smoothed_by_its_own_zoom(geometry):
    """Taps a, 1 - 2 a, a along both axes; borders as they are; crops unchanged."""
    crops = torch.rand(4, 3, 9, 8)
    zooms = torch.tensor([1.3, 0.8, 1.0, 1.7])
    affines = torch.eye(2, 3)[None] * zooms[:, None, None]
    found = smooth_(crops.clone(), affines)
    for own, crop, zoom in zip(found, crops, zooms.tolist(), strict=True):
        a = max(0.0, (zoom**2 - 1) / 24)
        taps = torch.tensor([a, 1 - 2 * a, a])
        expected = crop.clone()
        expected[:, 1:-1] = (expected.unfold(1, 3, 1) * taps).sum(-1)
        expected[:, :, 1:-1] = (expected.unfold(2, 3, 1) * taps).sum(-1)
        torch.testing.assert_close(own, expected)
    shares = ((zooms**2 - 1) / 24).clamp_min(0)
    at_once = blend_(crops.clone(), shares)  # as a GPU does it
    torch.testing.assert_close(at_once, found, atol=0, rtol=0)
    geometry = geometry("32x24")
    width, height = geometry.crop_size
    whole = 255 * torch.rand(4, 3, height, width)
    before = whole.clone()
    warp(whole, affines, geometry)
    assert (whole == before).all()


def test_shifts_are_distributed_as_set(geometry):
    persons = 20000
    keypoints, visible = people()
    keypoints, visible = keypoints.expand(persons, 17, 2), visible.expand(persons, 17)
    settings = replace(
        SETTINGS, half_body=0.0, scale=0.0, flip=0.0, rotate=0.0, shift=0.16
    )
    draws = torch.rand(persons, len(DRAWS), generator=torch.Generator().manual_seed(0))
    affines, _ = sample(geometry("64x48"), keypoints, visible, draws, settings)
    share = affines[:, :, 2] / torch.tensor([47.0, 63.0])
    moved = (share.abs() > 1e-4).any(1)
    assert moved.float().mean() == pytest.approx(settings.shifted, abs=0.015)
    assert share.abs().max() == pytest.approx(0.16, abs=1e-4)
    spread = 0.16 * 0.718  # of a normal number that is cut at one deviation
    torch.testing.assert_close(
        share[moved].std(0), torch.full((2,), spread), atol=0.003, rtol=0
    )


COLOURS = replace(SETTINGS, brightness=30.0, contrast=0.5, saturation=0.8)


def recolour(image: torch.Tensor, **draws: float) -> torch.Tensor:
    return change_colours(image, sample_colours(draws_of(len(image), **draws), COLOURS))


def test_colours_change_as_with_torchvision():
    """Its saturation and contrast-free brightness, before values are cut."""
    image = 80 + 90 * torch.rand(2, 3, 5, 4)
    assert (recolour(image) - image).abs().max() < 1e-4
    torch.testing.assert_close(recolour(image, brightness=0.75), image + 15)
    torch.testing.assert_close(recolour(image, contrast=0.25), 0.75 * image)
    for draw, factor in ((0.0, 0.2), (0.75, 1.4)):
        expected = adjust_saturation(image / 255, factor) * 255
        found = recolour(image, saturation=draw)
        # Its weights of red, green and blue are rounded.
        torch.testing.assert_close(found, expected, atol=0.05, rtol=0)


def test_colours_stay_grey_levels():
    image = 255 * torch.rand(3, 3, 8, 8)
    bright = recolour(image, brightness=1.0, contrast=1.0, saturation=1.0)
    assert bright.min() >= 0 and bright.max() == 255


def test_colours_are_as_they_are_unless_set(geometry):
    people_of = (*people(), torch.ones(1, 2), COCO17, geometry("64x48"))
    plain, coloured = (
        augment_persons(draws_of(brightness=0.75), *people_of, settings)
        for settings in (SETTINGS, COLOURS)
    )
    assert set(coloured) - set(plain) == {"colours"}
    preprocessor = CropPreprocessor(geometry("64x48"), COCO17)
    width, height = geometry("64x48").crop_size
    crops = torch.full((1, height, width, 3), 100, dtype=torch.uint8)
    images = [preprocessor.augment({"crops": crops} | p) for p in (plain, coloured)]
    torch.testing.assert_close(images[1], images[0] + 15)


def test_a_half_body_does_not_look_at_what_is_not_labelled(geometry):
    keypoints, visible = people()
    visible[0, ::4] = 0
    draws = draws_of(half_body=0.1, upper_body=0.1)
    expected, _ = sample(geometry("64x48"), keypoints, visible, draws)
    keypoints[0, ::4] = float("nan")
    found, _ = sample(geometry("64x48"), keypoints, visible, draws)
    torch.testing.assert_close(found, expected, atol=0, rtol=0)


def test_a_half_body_on_one_spot_stays_finite(geometry):
    keypoints = torch.full((1, 17, 2), 20.0)
    draws = draws_of(half_body=0.1, upper_body=0.1)
    affines, _ = sample(geometry("64x48"), keypoints, torch.full((1, 17), 2), draws)
    assert move(affines, keypoints).isfinite().all()


def test_at_square_inputs_a_rotation_keeps_the_shape(geometry):
    """The box has the input's aspect, so that its pixels are square there."""
    keypoints = torch.full((1, 17, 2), 20.0)
    draws = draws_of(angle=0.9, rotate=0.0)
    affines, _ = sample(geometry("64x64"), keypoints, torch.full((1, 17), 2), draws)
    (a, b), (c, d) = affines[0, :, :2].tolist()
    assert abs(c) > 0.1
    assert (a, b) == pytest.approx((d, -c))
