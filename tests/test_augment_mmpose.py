"""The batched augmentation against MMPose's transforms, for the same draws."""

import numpy as np
import pytest
import torch
from mmpose.datasets.transforms import (
    RandomBBoxTransform,
    RandomFlip,
    RandomHalfBody,
    TopdownAffine,
)

from plugins.datasets.augment import DRAWS, AugmentSettings, augment_persons
from plugins.datasets.keypoint_sets import COCO17
from plugins.datasets.warp import warp
from tests.test_augment import draws_of, uniform_of

SETTINGS = AugmentSettings(
    flip=0.5, half_body=0.3, half_body_keypoints=8, upper_body=0.7, scale=0.35,
    rotation=45, rotate=0.6, shift=0.16, shifted=0.3,
)  # fmt: skip
PHOTO = (420, 480)
CENTRE, BOX = np.array([205.0, 230.0]), np.array([150.0, 200.0])
CASES = {
    "nothing": {},
    "flip": dict(flip=True),
    "angle": dict(angle=0.7),
    "flip and angle": dict(flip=True, angle=-1.2),
    "magnified": dict(scale=-0.8),
    "shift": dict(shift=(0.5, -0.8)),
    "shift of a narrow box": dict(shift=(0.7, 0.4), box=(0.5, 1.0)),
    "shift of a wide box, flipped": dict(shift=(-0.9, 1), box=(1, 0.4), flip=True),
    "flip and shift": dict(flip=True, shift=(0.5, 0.3)),
    "upper body": dict(half_body="upper"),
    "lower body, flipped": dict(half_body="lower", flip=True),
    "all but shift": dict(half_body="upper", flip=True, angle=0.4, scale=-0.5),
    "upper body and shift": dict(half_body="upper", shift=(0.8, -0.6)),
    "flip, angle, scale, shift": dict(flip=True, angle=1, scale=-1, shift=(1, 0.2)),
}


def grey_levels(points: np.ndarray) -> np.ndarray:
    """A smooth picture's red, green and blue at photo pixels ``(..., 2)``."""
    x, y = points[..., 0] / BOX[1], points[..., 1] / BOX[1]
    waves = [np.sin(7 * x + 1), np.cos(6 * y), np.sin(5 * x + 6 * y)]
    return 128 + 100 * np.stack(waves, -1)


def photo_pixels(size: tuple[int, int]) -> np.ndarray:
    return np.stack(np.meshgrid(*map(np.arange, size)), -1).astype(float)


def keypoints_in_photo() -> np.ndarray:
    share = np.random.default_rng(3).uniform(0.1, 0.9, (17, 2))
    return CENTRE - BOX / 2 + share * BOX


def theirs(case: dict, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """MMPose's image ``(h, w, 3)`` and keypoints ``(17, 2)``; its draws are set."""
    flip, body = RandomFlip(), RandomHalfBody()
    box, affine = RandomBBoxTransform(), TopdownAffine(size, use_udp=True)
    flip._choose_direction = lambda: "horizontal" if case.get("flip") else None
    upper = [i for i in range(17) if i not in COCO17.lower_body]
    ids = {"upper": upper, "lower": list(COCO17.lower_body), None: None}
    chosen = ids[case.get("half_body")]
    body._random_select_half_body = lambda **_: [chosen]
    # It counts angles the other way round; a flipped photo turns and moves so too.
    mirror = -1 if case.get("flip") else 1
    shift = np.array(case.get("shift", (0, 0))) * SETTINGS.shift * [mirror, 1]
    factor = 1 + SETTINGS.scale * case.get("scale", 0)
    angle = -mirror * SETTINGS.rotation * case.get("angle", 0)
    box._get_transform_params = lambda count: (
        shift[None],
        np.array([[factor]]),
        np.array([angle]),
    )
    results = dict(
        img=grey_levels(photo_pixels(PHOTO)).astype(np.float32),
        img_shape=PHOTO[::-1],
        keypoints=keypoints_in_photo()[None],
        keypoints_visible=np.ones((1, 17)),
        bbox_center=CENTRE[None],
        bbox_scale=(BOX * case.get("box", 1))[None],
        flip_indices=COCO17.flip_indices,
        upper_body_ids=upper,
        lower_body_ids=list(COCO17.lower_body),
    )
    for transform in (flip, body, box, affine):
        results = transform(results)
    return results["img"], results["transformed_keypoints"][0]


def ours(case: dict, geometry) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same from a crop, and which pixels see nothing beyond the crop ``(h, w)``."""
    pixel = BOX / (np.array(geometry.input_size) - 1)
    corner = CENTRE - BOX / 2
    places = corner + geometry.to_input(photo_pixels(geometry.crop_size)) * pixel
    crops = torch.tensor(grey_levels(places)).float().permute(2, 0, 1)[None]
    keypoints = torch.tensor((keypoints_in_photo() - corner) / pixel).float()[None]
    values = {"flip": 0.1} if case.get("flip") else {}
    if "angle" in case:
        values |= dict(rotate=0.0, angle=uniform_of(case["angle"]))
    if "half_body" in case:
        upper = 0.1 if case["half_body"] == "upper" else 0.9
        values |= dict(half_body=0.1, upper_body=upper)
    if "shift" in case:
        x, y = map(uniform_of, case["shift"])
        values |= dict(shift=0.1, shift_x=x, shift_y=y)
    values["scale"] = uniform_of(case.get("scale", 0))
    visible = torch.ones(1, 17)
    box = torch.tensor(case.get("box", (1.0, 1.0)))[None]
    person = augment_persons(
        draws_of(**values), keypoints, visible, box, COCO17, geometry, SETTINGS
    )
    images = warp(crops, person["affines"], geometry)
    inside = warp(torch.ones_like(crops), person["affines"], geometry)[0, 0] > 0.999
    places = person["keypoints"][0].numpy()
    return images[0].permute(1, 2, 0).numpy(), places, inside.numpy()


@pytest.mark.parametrize("size", ["64x48", "128x96", "256x192"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_images_and_keypoints_are_mmpose_s(geometry, size, case):
    """Within a grey level and a thousandth of a pixel."""
    geometry = geometry(size)
    image, keypoints, inside = ours(case, geometry)
    expected, places = theirs(case, geometry.input_size)
    np.testing.assert_allclose(keypoints, places, atol=1e-3)
    assert inside.mean() > 0.8
    assert np.abs(image - expected)[inside].max() < 1
    # The picture is no plane, in which everything would look alike.
    assert expected[inside].std() > 30


def test_every_draw_has_a_case():
    """So that a new augmentation is compared too; colours have tests of their own."""
    tried = {"flip", "half_body", "upper_body", "scale", "rotate", "angle"}
    tried |= {"shift", "shift_x", "shift_y"}
    assert set(DRAWS) == tried | {"brightness", "contrast", "saturation"}
