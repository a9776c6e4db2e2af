"""Codecs: what perfect network outputs decode to, at every size, borders included."""

import pytest
import torch

from plugins.codecs import build_codec
from plugins.codecs.common.codec import Codec
from plugins.sizes import parse_size
from tests.codec_cases import (
    NAMES,
    OFFSETS,
    RELEASED,
    SIZES,
    encode_all,
    noisy_outputs,
    perfect_outputs,
    uniform_joints,
)

PERSONS = 200
GOLDEN_MEANS = {
    "argmax": (1.727, 1.616, 1.575, 1.552),
    "msra": (1.587, 1.566, 1.551, 1.535),
}
EXACT = ("cal", "quadfit", "regression", "simcc", "udp_offset")


def oracle_differences(codec: Codec, persons: int = PERSONS) -> torch.Tensor:
    """Decoded minus true joints ``(N * K, 2)`` in input px."""
    joints = uniform_joints(codec.input_size, persons)
    decoded, scores = codec.decode_batch(perfect_outputs(codec, joints))
    assert (scores > 0.3).all()
    return (decoded - joints).flatten(0, 1)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", EXACT)
def test_decodes_what_it_encodes(name, size):
    """Offset maps are zero outside their disc; coordinates are float32."""
    errors = oracle_differences(build_codec(name, parse_size(size)))
    assert errors.norm(dim=-1).max() <= 1e-4


@pytest.mark.parametrize(
    ("name", "size", "mean", "largest"),
    [("dark", "32x24", 0.04, 0.081), ("dark", "64x48", 0.04, 0.078),
     ("dark", "128x96", 0.04, 0.075), ("dark", "256x192", 0.001, 0.002),
     ("udp", "32x24", 0.007, 0.01), ("udp", "64x48", 0.007, 0.01),
     ("udp", "128x96", 0.007, 0.01), ("udp", "256x192", 0.0002, 0.0003)],
)  # fmt: skip
def test_taylor_decoding_is_exact_up_to_the_borders(name, size, mean, largest):
    errors = oracle_differences(build_codec(name, parse_size(size))).norm(dim=-1)
    assert errors.mean() <= mean
    assert errors.max() <= largest


@pytest.mark.parametrize("name", GOLDEN_MEANS)
def test_rounding_costs_what_it_did(name):
    means = []
    for size in SIZES:
        codec = build_codec(name, parse_size(size))
        means.append(float(oracle_differences(codec, 600).norm(dim=-1).mean()))
    assert means == pytest.approx(GOLDEN_MEANS[name], abs=0.02)


@pytest.mark.parametrize("split", [1, 2, 3, 4])
@pytest.mark.parametrize("size", SIZES)
def test_one_hot_bins_cost_half_a_bin(size, split):
    codec = build_codec("simcc", parse_size(size), target="one_hot", split=split)
    errors = oracle_differences(codec).abs()
    assert errors.max() <= 0.5 / split + 1e-5
    # Uniform over the bin: a quarter of it on average. So bins are not wider.
    assert errors.mean() == pytest.approx(0.25 / split, rel=0.03)


@pytest.mark.parametrize("split", [1, 3])
@pytest.mark.parametrize("sigma", [None, 1.0])
def test_gaussian_bins_cost_nothing(split, sigma):
    codec = build_codec("simcc", (48, 64), split=split, sigma=sigma)
    assert oracle_differences(codec).abs().max() <= 1e-4


@pytest.mark.parametrize(
    ("name", "settings", "bound"),
    [("cal", {"sigma": 0.3, "unit": 1.5}, 1e-4),
     ("cal", {"sigma": 2.0, "radius": 1.0}, 1e-4),
     # CAL's sigma at 64x48: two cells from the peak there are 1e-4 of it and less.
     ("quadfit", {"sigma": 0.5}, 0.02), ("quadfit", {"sigma": 0.75}, 1e-3),
     ("quadfit", {"sigma": 1.5}, 1e-3), ("quadfit", {"radius": 4}, 1e-3),
     ("udp_offset", {"radius_factor": 0.1}, 1e-4), ("udp_offset", {"kernel": 0}, 1e-4)],
)  # fmt: skip
def test_settings_do_not_change_what_is_exact(name, settings, bound):
    codec = build_codec(name, (48, 64), **settings)
    joints = uniform_joints((48, 64), PERSONS)
    decoded, _ = codec.decode_batch(perfect_outputs(codec, joints))
    assert (decoded - joints).abs().max() <= bound


@pytest.mark.parametrize("size", ["64x48", "128x96", "256x192"])
def test_a_mean_is_exact_away_from_the_borders(size):
    """By 4.5 sigmas, so that no tail of the target leaves the map."""
    codec = build_codec("integral", parse_size(size))
    joints = uniform_joints(codec.input_size, 400)
    decoded, _ = codec.decode_batch(perfect_outputs(codec, joints))
    interior = (border_distances(codec, joints) > 4.5).all(-1)
    assert interior.sum() > 100
    assert (decoded - joints)[interior].abs().max() <= 2e-4


@pytest.mark.parametrize("size", SIZES)
def test_a_mean_is_drawn_inward_at_the_borders(size):
    """A Gaussian cut at its centre has its mean ``sqrt(2 / pi)`` sigmas from there; on
    cells a half of the centre's own weight more, so 0.5 (sigma 1) or 0.65 (2)."""
    codec = build_codec("integral", parse_size(size))
    joints = uniform_joints(codec.input_size, 400)
    decoded, _ = codec.decode_batch(perfect_outputs(codec, joints))
    middle = (torch.tensor(codec.input_size) - 1) / 2
    inward = (decoded - joints) * torch.sign(middle - joints) / codec.scale
    drawn = inward[border_distances(codec, joints) < 0.02] / codec.sigma
    expected = {1.0: 0.519, 2.0: 0.650}[codec.sigma]
    assert len(drawn) > 5
    assert drawn.tolist() == pytest.approx([expected] * len(drawn), abs=0.02)


def border_distances(codec: Codec, joints: torch.Tensor) -> torch.Tensor:
    """Sigmas ``(N, K, 2)`` from the nearest border, along x and y."""
    last = torch.tensor(codec.input_size) - 1
    return torch.minimum(joints, last - joints) / codec.scale / codec.sigma


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", OFFSETS)
def test_offsets_are_learnt_in_the_disc_alone(name, size):
    codec = build_codec(name, parse_size(size))
    joints = uniform_joints(codec.input_size, 4)
    target = encode_all(codec, joints)
    width, height = codec.heatmap_size
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    away = (joints / codec.scale)[..., None, None] - torch.stack((x, y))
    disc = away.norm(dim=2) <= codec.radius
    assert (target["mask"] == disc).all()
    expected = away / codec.unit * disc[:, :, None]
    torch.testing.assert_close(target["offsets"], expected)
    if name == "udp_offset":
        assert (target["heatmaps"] == disc).all()


def test_an_offset_never_leads_out_of_its_disc():
    for name, settings in [("cal", {"unit": 1.5}), ("udp_offset", RELEASED)]:
        codec = build_codec(name, (48, 64), **settings)
        heatmaps = torch.zeros(1, 1, 16, 12)
        heatmaps[..., 7, 5] = 1
        offsets = torch.zeros(1, 1, 2, 16, 12)
        offsets[:, :, 0], offsets[:, :, 1] = 300, -400
        outputs = {"heatmaps": heatmaps, "offsets": offsets}
        decoded = codec.decode_batch(outputs)[0][0, 0] / codec.scale
        peak = codec.locate(heatmaps).flatten().argmax()
        step = decoded - torch.tensor([peak % 12, peak // 12])
        expected = torch.tensor([0.6, -0.8], dtype=torch.float64) * codec.radius
        torch.testing.assert_close(step, expected, atol=1e-5, rtol=0)


SOFT = {"cal", "dark", "integral", "quadfit", "udp", "udp_offset", "simcc"}


@pytest.mark.parametrize("size", ["64x48", "128x96", "256x192"])
@pytest.mark.parametrize("name", sorted(SOFT))
def test_soft_decoding_is_exact_away_from_the_borders(name, size):
    size = parse_size(size)
    codec = build_codec(name, size)
    joints = uniform_joints(size, 100, margin=0.3 * min(size))
    decoded = codec.soft_decode(perfect_outputs(codec, joints))
    # CAL's disc of 4 cells leaves out 2 % of a squared Gaussian of 2 cells.
    bound = 0.066 if (name, size) == ("cal", (192, 256)) else 0.05
    assert (decoded - joints).norm(dim=-1).max() <= bound


@pytest.mark.parametrize("name", NAMES)
def test_soft_decoding_lets_gradients_through(name):
    codec = build_codec(name, (48, 64))
    joints = uniform_joints((48, 64), 2, margin=10).float()
    outputs = noisy_outputs(codec, joints)
    for values in outputs.values():
        values.requires_grad_()
    codec.soft_decode(outputs).sum().backward()
    for values in outputs.values():
        assert values.grad.isfinite().all()
        assert (values.grad.flatten(2).abs().amax(-1) > 1e-4).all()
