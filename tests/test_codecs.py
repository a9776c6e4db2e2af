"""Codecs: oracle error, equality with MMPose where MMPose is sound, hostile maps."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmpose.codecs import MSRAHeatmap, UDPHeatmap
from mmpose.registry import KEYPOINT_CODECS

from plugins.codecs import build_codec, codecs_for
from plugins.codecs.couplings import derive_kernel, derive_sigma
from plugins.codecs.gaussian import newton_step
from plugins.registry import CODECS
from plugins.sizes import heatmap_size, parse_size

NAMES = ("argmax", "msra", "dark", "udp")
SIZES = ("32x24", "64x48", "128x96", "256x192")
TAYLOR_BOUNDS = {
    "dark": {"32x24": (0.04, 0.08), "64x48": (0.04, 0.08), "128x96": (0.04, 0.08)},
    "udp": {"32x24": (0.01, 0.015), "64x48": (0.01, 0.015), "128x96": (0.01, 0.015)},
}
"""Mean and 99th percentile of the oracle error in input px; both 0.003 at 256x192."""
GOLDEN_MEANS = {
    "argmax": (1.727, 1.616, 1.575, 1.552),
    "msra": (1.587, 1.566, 1.551, 1.535),
}


def uniform_joints(size: tuple[int, int], persons: int, margin: float = 0.0):
    """Joints ``(persons, 17, 2)`` over the whole input, its borders included."""
    generator = torch.Generator().manual_seed(0)
    unit = torch.rand(persons, 17, 2, dtype=torch.float64, generator=generator)
    return unit * (torch.tensor(size) - 1 - 2 * margin) + margin


def oracle_errors(name: str, size: tuple[int, int]) -> torch.Tensor:
    """Distances in input px between joints and what their perfect maps decode to."""
    codec, joints = build_codec(name, size), uniform_joints(size, 1000)
    heatmaps = codec.encode_batch(joints, torch.ones(1000, 17))["heatmaps"]
    decoded, scores = codec.decode_batch(heatmaps.float())
    assert (scores > 0.3).all()
    return (decoded - joints).norm(dim=-1).flatten()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["dark", "udp"])
def test_taylor_decoding_is_exact_up_to_the_borders(name, size):
    errors = oracle_errors(name, parse_size(size))
    mean, p99 = TAYLOR_BOUNDS[name].get(size, (0.003, 0.003))
    assert errors.mean() <= mean
    assert errors.quantile(0.99) <= p99


@pytest.mark.parametrize("name", GOLDEN_MEANS)
def test_rounding_costs_what_it_did(name):
    means = [float(oracle_errors(name, parse_size(size)).mean()) for size in SIZES]
    assert means == pytest.approx(GOLDEN_MEANS[name], abs=0.02)


def mmpose_codec(name: str, size: tuple[int, int], sigma: float, kernel: int):
    cells = heatmap_size(size)
    if name == "udp":
        return UDPHeatmap(size, cells, sigma=sigma, blur_kernel_size=kernel)
    unbiased = name == "dark"
    return MSRAHeatmap(size, cells, sigma, unbiased=unbiased, blur_kernel_size=kernel)


def mmpose_oracle(name: str, size: tuple[int, int], sigma: float, kernel: int):
    """Errors ``(N,)`` in input px of MMPose's codec, in its own transform."""
    codec, joints = mmpose_codec(name, size, sigma, kernel), uniform_joints(size, 150)
    errors = []
    for person in joints.numpy():
        heatmaps = codec.encode(person[None])["heatmaps"]
        decoded = codec.decode(heatmaps)[0][0]
        if name == "udp":  # decodes to k * w / (w - 1), for its own warp to undo
            decoded = decoded * (np.array(size) - 1) / size
        errors.append(np.linalg.norm(decoded - person, axis=-1))
    return np.concatenate(errors)


@pytest.mark.parametrize(
    ("name", "mean", "p99"),
    [("msra", 1.57, 3.0), ("dark", 0.79, 3.0), ("udp", 0.55, 4.2)],
)
def test_mmpose_has_the_faults_that_are_corrected_here(name, mean, p99):
    """At 64x48, sigma 1 and kernel 3; UDP's 4.2 px at the borders are a whole cell."""
    errors = mmpose_oracle(name, (48, 64), 1.0, 3)
    assert errors.mean() == pytest.approx(mean, abs=0.06)
    assert np.quantile(errors, 0.99) == pytest.approx(p99, abs=0.25)


@pytest.mark.parametrize(("size", "left"), [("64x48", 0.5), ("128x96", 0.27)])
def test_mmpose_leaves_dark_unrefined_where_ours_is_not(size, left):
    size = parse_size(size)
    width, height = heatmap_size(size)
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    cells = np.stack((x, y), -1).reshape(-1, 2).astype(float)
    off = cells + 0.3 * np.where(cells < np.array([width, height]) / 2, 1, -1)
    theirs = mmpose_codec("dark", size, 1.0, 3)
    decoded = theirs.decode(theirs.encode(4 * off[None])["heatmaps"])[0][0] / 4
    assert (decoded == cells).all(1).mean() == pytest.approx(left, abs=0.005)
    ours = build_codec("dark", size)
    heatmaps = ours.encode_batch(torch.tensor(off)[None] * ours.scale, torch.ones(1, 1))
    refined = ours.decode_batch(heatmaps["heatmaps"])[0][0] / ours.scale
    assert (refined - torch.tensor(off)).abs().max() < 0.05


@pytest.mark.parametrize("noise", [0.0, 0.02])
@pytest.mark.parametrize("name", ["msra", "dark", "udp"])
def test_equals_mmpose_away_from_the_borders(name, noise):
    """Targets and decoded joints at 256x192, sigma 2, kernel 11."""
    size, persons = (192, 256), 12
    ours, theirs = build_codec(name, size), mmpose_codec(name, size, 2.0, 11)
    joints = uniform_joints(size, persons, margin=40)
    targets = ours.encode_batch(joints, torch.ones(persons, 17))["heatmaps"]
    scale = ours.scale.numpy()
    # MMPose's MSRA and DARK take 4 input px per cell, its UDP unit lengths.
    given = joints.numpy() if name == "udp" else joints.numpy() / scale * 4
    rng = np.random.default_rng(0)
    for person, (own, points) in enumerate(zip(targets, given, strict=True)):
        heatmaps = theirs.encode(points[None])["heatmaps"]
        np.testing.assert_allclose(own, heatmaps, atol=1e-4, err_msg=str(person))
        noisy = heatmaps + rng.uniform(0, noise, heatmaps.shape).astype(np.float32)
        expected, scores = theirs.decode(noisy)
        if name == "udp":
            expected = expected / size * (np.array(size) - 1)
        else:
            expected = expected / 4 * scale
        decoded, own_scores = ours.decode_batch(torch.tensor(noisy)[None])
        np.testing.assert_allclose(decoded, expected, atol=1e-4)
        np.testing.assert_array_equal(own_scores, scores)


@pytest.mark.parametrize(("sigma", "moved"), [(0.5, 0.27), (0.75, 0.95), (1.5, 0.6)])
def test_fractional_sigmas_keep_the_peak_where_mmpose_moves_it(sigma, moved):
    size = (48, 64)
    codec, joints = build_codec("msra", size, sigma=sigma), uniform_joints(size, 60)
    heatmaps = codec.encode_batch(joints, torch.ones(60, 17))["heatmaps"]
    rounded = torch.floor(joints / codec.scale + 0.5)
    assert (decode_argmax(heatmaps.numpy()) == rounded.numpy()).all()
    theirs, points = mmpose_codec("msra", size, sigma, 3), joints.numpy()
    maps = np.stack([theirs.encode(person[None])["heatmaps"] for person in points])
    wrong = (decode_argmax(maps) != np.floor(points / 4 + 0.5)).any(-1)
    assert wrong.mean() == pytest.approx(moved, abs=0.08)


def decode_argmax(heatmaps: np.ndarray) -> np.ndarray:
    width = heatmaps.shape[-1]
    index = heatmaps.reshape(*heatmaps.shape[:2], -1).argmax(-1)
    return np.stack((index % width, index // width), -1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "value", [0.0, -1.0, float("nan"), float("inf"), -float("inf")]
)
def test_maps_that_say_nothing_score_zero(name, value):
    decoded, scores = build_codec(name, (48, 64)).decode_batch(
        torch.full((2, 3, 16, 12), value)
    )
    assert decoded.isfinite().all()
    assert (scores == 0).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0.0, -3.0, float("nan"), -float("inf")])
def test_a_lone_peak_among_anything_stays_within_a_cell(name, value):
    """Borders and corners: nothing beside the peak that a step could be taken from."""
    codec = build_codec(name, (48, 64))
    for x, y in [(0, 0), (11, 15), (0, 7), (5, 15), (6, 7)]:
        heatmaps = torch.full((1, 1, 16, 12), value)
        heatmaps[0, 0, y, x] = 1.0
        decoded, _ = codec.decode_batch(heatmaps)
        assert decoded.isfinite().all()
        if value == value:
            step = decoded[0, 0] / codec.scale - torch.tensor([x, y])
            assert step.norm() <= 1 + 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_persons_of_a_batch_do_not_influence_each_other(name):
    size = (48, 64)
    codec, joints = build_codec(name, size), uniform_joints(size, 8).float()
    targets = codec.encode_batch(joints, torch.ones(8, 17))["heatmaps"]
    generator = torch.Generator().manual_seed(1)
    noisy = targets + 0.1 * torch.rand(targets.shape, generator=generator)
    noisy[3] = float("nan")
    together, scores = codec.decode_batch(noisy)
    for i in range(8):
        alone = codec.encode_batch(joints[i : i + 1], torch.ones(1, 17))["heatmaps"]
        torch.testing.assert_close(alone[0], targets[i])
        decoded, score = codec.decode_batch(noisy[i : i + 1])
        torch.testing.assert_close(decoded[0], together[i], atol=1e-4, rtol=0)
        torch.testing.assert_close(score[0], scores[i])


@pytest.mark.parametrize("name", NAMES)
def test_mmpose_builds_it_and_its_single_sample_form_is_the_same(name):
    size = (48, 64)
    codec = KEYPOINT_CODECS.build(dict(type=f"lowres.{name}", input_size=size))
    assert type(codec) is CODECS.get(name)
    joints, visible = uniform_joints(size, 1), torch.ones(1, 17)
    visible[0, 4] = 0
    target = codec.encode_batch(joints, visible)
    single = codec.encode(joints.numpy(), visible.numpy())
    np.testing.assert_allclose(single["heatmaps"], target["heatmaps"][0], atol=1e-6)
    np.testing.assert_array_equal(single["keypoint_weights"], target["weights"])
    assert codec.encode(joints.numpy())["keypoint_weights"].all()
    keypoints, scores = codec.decode(single["heatmaps"])
    batched, batched_scores = codec.decode_batch(target["heatmaps"])
    np.testing.assert_allclose(keypoints, batched, atol=1e-4)
    np.testing.assert_allclose(scores, batched_scores, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_weights_tell_which_joints_the_map_can_show(name):
    codec = build_codec(name, (48, 64))
    nan = float("nan")
    # Labelled or not, just outside (the Gaussian reaches in), far outside, unknown.
    joints = [(20, 20), (20, 20), (-8, 20), (-40, 20), (90, 20), (20, -40), (20, 110)]
    joints = torch.tensor([*joints, (nan, nan)])[None]
    visible = torch.tensor([[2, 0, 1, 2, 2, 2, 2, 2]])
    target = codec.encode_batch(joints, visible)
    assert target["weights"].tolist() == [[1, 0, 1, 0, 0, 0, 0, 0]]
    shown = target["heatmaps"].flatten(-2).amax(-1)[0] > 0
    assert shown.tolist() == [True, False, True, *[False] * 5]
    assert target["heatmaps"].isfinite().all()


@pytest.mark.parametrize(
    ("size", "sigma", "kernel"),
    [("32x24", 1, 3), ("64x48", 1, 3), ("128x96", 1, 3), ("192x144", 1.5, 7),
     ("256x192", 2, 11), ("384x288", 3, 17)],
)  # fmt: skip
def test_sigma_and_kernel_follow_from_the_size(size, sigma, kernel):
    codec = build_codec("dark", parse_size(size))
    assert (codec.sigma, codec.kernel) == (sigma, kernel)
    assert derive_sigma(heatmap_size(parse_size(size))) == sigma


@given(st.floats(0.05, 20))
def test_the_kernel_is_the_widest_that_blurs_no_more_than_the_target(sigma):
    def implied(taps: int) -> float:
        return 0.3 * ((taps - 1) / 2 - 1) + 0.8

    kernel = derive_kernel(sigma)
    assert kernel % 2 == 1
    assert kernel == 1 or implied(kernel) <= sigma + 1e-6
    assert implied(kernel + 2) > sigma - 1e-6


def test_errors_say_what_was_expected():
    with pytest.raises(ValueError, match="codec 'darc': expected one of argmax, dark"):
        build_codec("darc", (48, 64))
    for sigma in (0, -1.0):
        with pytest.raises(ValueError, match="sigma .*positive"):
            build_codec("msra", (48, 64), sigma=sigma)
    for kernel in (0, 4, -1):
        with pytest.raises(ValueError, match="kernel .*odd"):
            build_codec("udp", (48, 64), kernel=kernel)
    with pytest.raises(TypeError, match="kernel"):
        build_codec("msra", (48, 64), kernel=3)


def test_heatmap_codecs_are_exchangeable_decoders():
    codecs = codecs_for("heatmap", (48, 64))
    assert set(NAMES) <= set(codecs)
    assert all(codec.outputs == "heatmap" for codec in codecs.values())
    assert codecs_for("nothing", (48, 64)) == {}


numbers = st.floats(width=32, allow_nan=True, allow_infinity=True)
small = st.floats(-5, 5, width=32)


@settings(max_examples=300, deadline=None)
@given(st.tuples(numbers, numbers), st.tuples(numbers, numbers, numbers))
def test_newton_steps_are_finite_and_short_for_any_numbers(gradient, hessian):
    step = newton_step(torch.tensor(gradient), torch.tensor(hessian))
    assert step.isfinite().all()
    assert step.norm() <= 1 + 1e-5
    xx, xy, yy = (np.float64(value) for value in hessian)
    with np.errstate(all="ignore"):
        if not (xx < 0 and yy < 0 and xx * yy > xy * xy):
            assert (step == 0).all()


@settings(max_examples=300, deadline=None)
@given(
    st.tuples(small, small), st.floats(-3.1, 3.1), st.floats(0.1, 5), st.floats(1, 9)
)
def test_newton_steps_lead_to_the_maximum_of_a_quadratic(gradient, turn, flat, ratio):
    """Any negative definite Hessian, by its angle and its two curvatures."""
    axes = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    hessian = -axes @ np.diag([flat, flat * ratio]) @ axes.T
    exact = -np.linalg.solve(hessian, gradient)
    packed = torch.tensor([hessian[0, 0], hessian[0, 1], hessian[1, 1]])
    step = newton_step(torch.tensor(gradient, dtype=torch.float64), packed).numpy()
    expected = exact / max(1.0, np.linalg.norm(exact))
    np.testing.assert_allclose(step, expected, atol=1e-6)
