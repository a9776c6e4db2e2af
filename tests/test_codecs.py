"""Every codec: outputs that say nothing, batches, types, which joints are learnt."""

import numpy as np
import pytest
import torch
from mmpose.registry import KEYPOINT_CODECS

from plugins.codecs import build_codec
from plugins.registry import CODECS
from tests.codec_cases import (
    INF,
    JOINTS,
    MAPS,
    NAMES,
    NAN,
    OFFSETS,
    PLAIN,
    SIZE,
    encode_all,
    noisy_outputs,
    parametrize_variants,
    perfect_outputs,
    uniform_joints,
)


def map_outputs(name: str, heatmaps: torch.Tensor) -> dict[str, torch.Tensor]:
    """Heatmaps with the offsets, all 0.3, that the codec reads beside them."""
    if name not in OFFSETS:
        return {"heatmaps": heatmaps}
    shape = (*heatmaps.shape[:2], 2, *heatmaps.shape[2:])
    return {"heatmaps": heatmaps, "offsets": torch.full(shape, 0.3)}


# Outputs that say nothing.


@parametrize_variants(lambda name, settings: name != "regression")
@pytest.mark.parametrize("value", [0.0, -1.0, 0.3, 1.0, 77.7, NAN, INF, -INF])
def test_outputs_that_say_nothing_score_zero(name, settings, value):
    codec = build_codec(name, SIZE, **settings)
    if name == "simcc":
        outputs = {axis: torch.full((2, 3, 9), value) for axis in "xy"}
    else:
        outputs = map_outputs(name, torch.full((2, 3, 16, 12), value))
    decoded, scores = codec.decode_batch(outputs)
    assert decoded.isfinite().all()
    assert (scores == 0).all()


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("axis", "xy")
def test_one_axis_of_simcc_that_says_nothing_is_enough(axis, value):
    codec = build_codec("simcc", SIZE)
    outputs = perfect_outputs(codec, uniform_joints(SIZE, 2))
    outputs[axis][0, 0] = 0.7  # flat
    outputs[axis][0, 1, 5] = value
    decoded, scores = codec.decode_batch(outputs)
    assert decoded.isfinite().all()
    expected = torch.ones(2, JOINTS, dtype=torch.bool)
    expected[0, :2] = False
    if value == -INF:  # one impossible bin leaves the others
        expected[0, 1] = True
    assert ((scores > 0.9) == expected).all()
    assert (scores[~expected] == 0).all()


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_coordinates_that_are_no_numbers_score_zero(value):
    codec = build_codec("regression", SIZE)
    keypoints = torch.full((1, 3, 2), 0.25)
    keypoints[0, 1, 0] = value
    decoded, scores = codec.decode_batch({"keypoints": keypoints})
    assert scores.tolist() == [[1, 0, 1]]
    assert decoded[0].tolist() == [[35.25, 47.25], [23.5, 31.5], [35.25, 47.25]]
    sigmas = torch.full((1, 3, 2), -30.0)
    sigmas[0, 2, 1] = NAN
    both = {"keypoints": keypoints, "sigmas": sigmas}
    assert codec.decode_batch(both)[1].tolist() == [[1, 0, 0]]


def test_the_score_of_a_regression_is_one_minus_its_mean_sigma():
    codec = build_codec("regression", SIZE)
    sigmas = torch.tensor([[[0.0, 0.0], [-2.0, 2.0], [-100.0, 0.0], [INF, INF]]])
    outputs = {"keypoints": torch.zeros(1, 4, 2), "sigmas": sigmas}
    expected = torch.tensor([[0.5, 0.5, 0.75, 0.0]])
    torch.testing.assert_close(codec.decode_batch(outputs)[1], expected)


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("value", [0.0, -3.0, NAN, -INF])
def test_a_lone_peak_among_anything_stays_within_a_cell(name, value):
    """Borders and corners: nothing beside the peak that a step could be taken from."""
    codec = build_codec(name, SIZE)
    for x, y in [(0, 0), (11, 15), (0, 7), (5, 15), (6, 7)]:
        heatmaps = torch.full((1, 1, 16, 12), value)
        heatmaps[0, 0, y, x] = 20.0 if name == "integral" else 1.0
        decoded, scores = codec.decode_batch(map_outputs(name, heatmaps))
        assert decoded.isfinite().all()
        assert (scores > 0.9).all() == (value == value)
        if value == value:
            step = decoded[0, 0] / codec.scale - torch.tensor([x, y])
            assert step.norm() <= 1 + 1e-6


@pytest.mark.parametrize("name", OFFSETS)
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_offsets_that_are_no_numbers_are_not_followed(name, value):
    codec = build_codec(name, SIZE)
    heatmaps = torch.zeros(1, 1, 16, 12)
    heatmaps[..., 7, 5] = 1
    outputs = map_outputs(name, heatmaps)
    outputs["offsets"][..., 1, :, :] = value
    decoded, scores = codec.decode_batch(outputs)
    cell = torch.tensor([5, 7]) * codec.scale
    torch.testing.assert_close(decoded[0, 0], cell.float())
    assert scores.item() == 1


# Batches, types, single samples.


@parametrize_variants()
def test_persons_of_a_batch_do_not_influence_each_other(name, settings):
    """64 together are as one by one, so there is no state and no loop over persons."""
    codec, persons = build_codec(name, SIZE, **settings), 64
    joints = uniform_joints(SIZE, persons).float()
    target = encode_all(codec, joints)
    outputs = noisy_outputs(codec, joints)
    for values in outputs.values():
        values[3] = NAN
    together, scores = codec.decode_batch(outputs)
    assert scores[3].eq(0).all()
    for i in (0, 2, 3, 4, 63):
        alone = encode_all(codec, joints[i : i + 1])
        for key, values in alone.items():
            torch.testing.assert_close(values[0], target[key][i])
        one = {key: values[i : i + 1] for key, values in outputs.items()}
        decoded, score = codec.decode_batch(one)
        torch.testing.assert_close(decoded[0], together[i], atol=1e-4, rtol=0)
        torch.testing.assert_close(score[0], scores[i])


@pytest.mark.parametrize("name", NAMES)
def test_empty_batches_pass(name):
    codec = build_codec(name, SIZE)
    outputs = perfect_outputs(codec, torch.zeros(0, JOINTS, 2))
    decoded, scores = codec.decode_batch(outputs)
    assert decoded.shape == (0, JOINTS, 2)
    assert scores.shape == (0, JOINTS)


@parametrize_variants()
def test_half_precision_costs_a_twentieth_of_a_cell(name, settings):
    """bfloat16 has 8 bits: a map's values stand beside each other to 0.4 %."""
    codec, joints = build_codec(name, SIZE, **settings), uniform_joints(SIZE, 20)
    outputs = perfect_outputs(codec, joints)
    expected, _ = codec.decode_batch(outputs)
    halved = {key: values.bfloat16() for key, values in outputs.items()}
    decoded, scores = codec.decode_batch(halved)
    assert decoded.dtype == scores.dtype == torch.float32
    cells = (decoded - expected).abs() / 4.27
    assert cells.max() <= 0.05
    assert codec.soft_decode(halved).dtype == torch.float32


@pytest.mark.parametrize("name", NAMES)
def test_targets_have_the_type_of_the_keypoints(name):
    codec = build_codec(name, SIZE)
    for dtype in (torch.float32, torch.float64):
        target = encode_all(codec, uniform_joints(SIZE, 2).to(dtype))
        assert {values.dtype for values in target.values()} == {dtype}


@pytest.mark.parametrize("name", (*PLAIN, "integral"))
def test_heatmaps_alone_decode_as_in_a_dictionary(name):
    codec = build_codec(name, SIZE)
    outputs = noisy_outputs(codec, uniform_joints(SIZE, 2))
    alone, scores = codec.decode_batch(outputs["heatmaps"])
    assert (alone == codec.decode_batch(outputs)[0]).all()
    assert (scores == codec.decode_batch(outputs)[1]).all()


@pytest.mark.parametrize("name", NAMES)
def test_mmpose_builds_it_and_its_single_sample_form_is_the_same(name):
    codec = KEYPOINT_CODECS.build(dict(type=f"lowres.{name}", input_size=SIZE))
    assert type(codec) is CODECS.get(name)
    joints, visible = uniform_joints(SIZE, 1), torch.ones(1, JOINTS)
    visible[0, 4] = 0
    target = codec.encode_batch(joints, visible)
    single = codec.encode(joints.numpy(), visible.numpy())
    assert set(single) == {*target, "keypoint_weights"} - {"weights"}
    for key in set(target) - {"weights"}:
        np.testing.assert_allclose(single[key], target[key][0], atol=1e-5)
    np.testing.assert_array_equal(single["keypoint_weights"], target["weights"])
    assert codec.encode(joints.numpy())["keypoint_weights"].all()
    outputs = perfect_outputs(codec, joints)
    encoded = {key: values[0].numpy() for key, values in outputs.items()}
    batched, batched_scores = codec.decode_batch(outputs)
    forms = [encoded] if len(encoded) > 1 or name == "regression" else [
        encoded, encoded["heatmaps"]]  # fmt: skip
    for form in forms:
        keypoints, scores = codec.decode(form)
        np.testing.assert_allclose(keypoints, batched, atol=1e-4)
        np.testing.assert_allclose(scores, batched_scores, atol=1e-6)


# Which keypoints are learnt.


@pytest.mark.parametrize("name", NAMES)
def test_weights_tell_which_joints_can_be_learnt(name):
    codec = build_codec(name, SIZE)
    # Labelled or not, far outside on each side, unknown.
    joints = [(20, 20), (20, 20), (20, 20), (-40, 20), (90, 20), (20, -40), (20, 110)]
    joints = torch.tensor([*joints, (NAN, NAN), (20, NAN), (INF, 20)])[None]
    visible = torch.tensor([[2, 0, 1, *[2] * 7]])
    target = codec.encode_batch(joints, visible)
    assert target["weights"].tolist() == [[1, 0, 1, *[0] * 7]]
    assert all(values.isfinite().all() for values in target.values())
    assert (target["keypoints"][0, [1, 7, 8, 9]] == 0).all()
    assert (target["keypoints"][0, 3] == joints[0, 3]).all()
    if name in (*PLAIN, *OFFSETS):
        shown = target["heatmaps"].flatten(-2).amax(-1)[0] > 0
        assert shown.tolist() == [True, False, True, *[False] * 7]
    if name in OFFSETS:
        supervised = target["mask"].flatten(-2).amax(-1)[0] > 0
        assert (supervised == shown).all()


@pytest.mark.parametrize(
    ("name", "left", "right"),
    [("regression", 0.0, 47.0), ("integral", -2.1, 49.1), ("simcc", -3.6, 50.6),
     ("dark", -17.0, 64.0), ("udp_offset", -6.4, 53.4), ("cal", -6.4, 53.4),
     *((name, -14.9, 61.9) for name in ("argmax", "msra", "udp", "quadfit"))],
)  # fmt: skip
def test_how_far_outside_a_joint_is_learnt(name, left, right):
    """As far on both sides, where a target can still hold something of it."""
    codec = build_codec(name, SIZE)
    x = torch.arange(-300, 800) / 10
    joints = torch.stack((x, torch.full_like(x, 29.4)), -1)[None]
    learnt = x[encode_all(codec, joints)["weights"][0] > 0]
    assert learnt.min().item() == pytest.approx(left, abs=0.11)
    assert learnt.max().item() == pytest.approx(right, abs=0.11)


@pytest.mark.parametrize("name", (*PLAIN, *OFFSETS))
def test_a_joint_that_is_learnt_has_a_target(name):
    """Around the input, corners included."""
    codec = build_codec(name, SIZE)
    x, y = torch.meshgrid(
        torch.arange(-20, 70, 0.9), torch.arange(-20, 85, 0.9), indexing="ij"
    )
    target = encode_all(codec, torch.stack((x, y), -1).flatten(0, 1)[None])
    learnt, shown = target["weights"] > 0, target["heatmaps"].flatten(-2).amax(-1) > 0
    assert (learnt == shown).all()
