"""Every codec: outputs of mirror images, as the flip test averages them."""

import pytest
import torch

from plugins.codecs import build_codec
from plugins.sizes import parse_size
from tests.codec_cases import (
    FLIP,
    JOINTS,
    PLAIN,
    SIZE,
    noisy_outputs,
    parametrize_variants,
    perfect_outputs,
    uniform_joints,
)


def mirrored(joints: torch.Tensor, width: int) -> torch.Tensor:
    """Joints in the mirror image: x from the other side, left and right swapped."""
    swapped = joints[:, FLIP].clone()
    swapped[..., 0] = width - 1 - swapped[..., 0]
    return swapped


@parametrize_variants(lambda name, settings: "transform" not in settings)
@pytest.mark.parametrize("size", ["32x24", "64x48", "128x96"])
def test_the_mirror_image_of_a_mirror_image_s_target_is_the_target(
    name, settings, size
):
    codec = build_codec(name, parse_size(size), **settings)
    joints = uniform_joints(codec.input_size, 8)
    outputs = perfect_outputs(codec, joints)
    flipped = perfect_outputs(codec, mirrored(joints, codec.input_size[0]))
    back = codec.mirror(flipped, FLIP)
    assert set(back) == set(outputs)
    for key, values in outputs.items():
        torch.testing.assert_close(back[key], values, atol=1e-6, rtol=1e-5)


@parametrize_variants()
def test_mirrored_twice_is_the_same(name, settings):
    codec = build_codec(name, SIZE, **settings)
    outputs = noisy_outputs(codec, uniform_joints(SIZE, 2))
    twice = codec.mirror(codec.mirror(outputs, FLIP), FLIP)
    for key, values in outputs.items():
        if settings.get("transform") == "legacy":
            # The second shift undoes the first; a column is lost at the border.
            values, twice[key] = values[..., 1:], twice[key][..., 1:]
        assert (twice[key] == values).all()


def test_mirroring_swaps_widths_of_a_regression():
    codec = build_codec("regression", SIZE)
    outputs = {
        "keypoints": torch.rand(2, JOINTS, 2),
        "sigmas": torch.rand(2, JOINTS, 2),
    }
    back = codec.mirror(outputs, FLIP)
    assert (back["sigmas"] == outputs["sigmas"][:, FLIP]).all()
    assert (back["keypoints"][..., 0] == -outputs["keypoints"][:, FLIP, 0]).all()
    assert (back["keypoints"][..., 1] == outputs["keypoints"][:, FLIP, 1]).all()


@pytest.mark.parametrize("name", PLAIN)
def test_legacy_moves_a_mirrored_map_by_one_cell(name):
    """Input and map are mirrored around centres that are 3/8 of a cell apart."""
    codec = build_codec(name, SIZE, transform="legacy")
    unit = build_codec(name, SIZE)
    maps = {"heatmaps": torch.rand(2, JOINTS, 16, 12)}
    moved = codec.mirror(maps, FLIP)["heatmaps"]
    still = unit.mirror(maps, FLIP)["heatmaps"]
    assert (moved[..., 1:] == still[..., :-1]).all()
    assert (moved[..., 0] == still[..., 0]).all()
    assert (still == maps["heatmaps"][:, FLIP].flip(-1)).all()


@pytest.mark.parametrize("name", ["dark", "quadfit", "udp"])
def test_legacy_leaves_a_quarter_of_a_cell_in_the_mirror(name):
    codec = build_codec(name, SIZE, transform="legacy")
    joints = uniform_joints(SIZE, 8, margin=12)
    outputs = perfect_outputs(codec, joints)
    flipped = perfect_outputs(codec, mirrored(joints, SIZE[0]))
    decoded, _ = codec.decode_batch(codec.mirror(flipped, FLIP))
    expected, _ = codec.decode_batch(outputs)
    expected[..., 0] += 1
    torch.testing.assert_close(decoded, expected, atol=0.08, rtol=0)
