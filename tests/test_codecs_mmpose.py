"""Codecs against MMPose's: equal where those are sound, better where they are not."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mmpose.codecs import SimCCLabel, UDPHeatmap
from mmpose.codecs.utils.post_processing import gaussian_blur
from mmpose.models.utils.tta import flip_heatmaps

from plugins.codecs import build_codec
from plugins.datasets.augment import AugmentSettings
from plugins.datasets.crop_store import CropStore
from plugins.datasets.training_crops import TrainingCrops
from plugins.inference import predict_outputs
from plugins.model import build_model
from plugins.sizes import heatmap_size, parse_size
from stages.downsample import downsample
from stages.prepare import prepare
from tests.codec_cases import (
    JOINTS,
    PLAIN,
    RELEASED,
    argmax_cells,
    encode_all,
    mmpose_codec,
    perfect_outputs,
    uniform_joints,
    unit_lengths,
)
from tests.conftest import STORE

KERNELS = {"64x48": (1.0, 3), "128x96": (1.0, 3), "256x192": (2.0, 11)}
"""MMPose's sigma and blur kernel."""
ORACLE = [
    ("msra", "64x48", 1.57, 3.0),
    ("msra", "128x96", 1.56, 2.8),
    ("msra", "256x192", 1.54, 2.7),
    ("dark", "64x48", 0.79, 3.0),
    ("dark", "128x96", 0.45, 2.8),
    ("dark", "256x192", 0.30, 2.6),
    ("udp", "64x48", 0.55, 4.2),
    ("udp", "128x96", 0.26, 3.9),
    ("udp", "256x192", 0.36, 3.6),
]
"""Mean and 99th percentile in input px of MMPose's codecs."""


def mmpose_oracle(name: str, size: tuple[int, int], sigma: float, kernel: int):
    """Errors ``(N,)`` in input px of MMPose's codec, in its own transform."""
    codec, joints = mmpose_codec(name, size, sigma, kernel), uniform_joints(size, 300)
    errors = []
    for person in joints.numpy():
        decoded = codec.decode(codec.encode(person[None])["heatmaps"])[0][0]
        decoded = unit_lengths(decoded, size) if name == "udp" else decoded
        errors.append(np.linalg.norm(decoded - person, axis=-1))
    return np.concatenate(errors)


@pytest.mark.parametrize(("name", "size", "mean", "p99"), ORACLE)
def test_mmpose_has_the_faults_that_are_corrected_here(name, size, mean, p99):
    errors = mmpose_oracle(name, parse_size(size), *KERNELS[size])
    assert errors.mean() == pytest.approx(mean, abs=0.03)
    assert np.quantile(errors, 0.99) == pytest.approx(p99, abs=0.15)
    codec = build_codec(name, parse_size(size))
    joints = uniform_joints(codec.input_size, 300)
    decoded, _ = codec.decode_batch(perfect_outputs(codec, joints))
    # A cell of unit lengths is larger by up to 3 % for those who round to cells.
    better = 1.03 if name == "msra" else 0.1
    assert (decoded - joints).norm(dim=-1).mean() < errors.mean() * better


@pytest.mark.parametrize("size", KERNELS)
@pytest.mark.parametrize("name", ["msra", "dark"])
def test_in_mmpose_s_own_transform_none_is_worse(name, size):
    errors = mmpose_oracle(name, parse_size(size), *KERNELS[size])
    codec = build_codec(name, parse_size(size), transform="legacy")
    joints = uniform_joints(codec.input_size, 300)
    decoded, _ = codec.decode_batch(perfect_outputs(codec, joints))
    assert (decoded - joints).norm(dim=-1).mean() <= errors.mean() + 1e-6


@pytest.mark.parametrize(("size", "mean"), [("64x48", 0.19), ("256x192", 0.20)])
def test_mmpose_simcc_rounds_to_a_bin(size, mean):
    size = parse_size(size)
    theirs, joints = SimCCLabel(size, simcc_split_ratio=2.0), uniform_joints(size, 60)
    errors = []
    for person in joints.numpy():
        label = theirs.encode(person[None])
        decoded = theirs.decode(label["keypoint_x_labels"], label["keypoint_y_labels"])
        errors.append(np.linalg.norm(decoded[0][0] - person, axis=-1))
    assert np.mean(errors) == pytest.approx(mean, abs=0.015)


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
    target = encode_all(ours, torch.tensor(off)[None] * ours.scale)
    refined = ours.decode_batch(target["heatmaps"])[0][0] / ours.scale
    assert (refined - torch.tensor(off)).abs().max() < 0.05


@pytest.mark.parametrize("noise", [0.0, 0.02])
@pytest.mark.parametrize("transform", ["udp", "legacy"])
@pytest.mark.parametrize("name", ["msra", "dark", "udp"])
def test_equals_mmpose_away_from_the_borders(name, transform, noise):
    """Targets and decoded joints at 256x192, sigma 2, kernel 11."""
    size, persons = (192, 256), 6
    ours = build_codec(name, size, transform=transform)
    theirs = mmpose_codec(name, size, 2.0, 11)
    joints = uniform_joints(size, persons, margin=40)
    targets = encode_all(ours, joints)["heatmaps"]
    cells = joints.numpy() / ours.scale.numpy()
    # MMPose's MSRA and DARK take 4 input px per cell, its UDP unit lengths.
    scale = 4 if name != "udp" else (np.array(size) - 1) / (np.array([48, 64]) - 1)
    rng = np.random.default_rng(0)
    for own, points in zip(targets, cells, strict=True):
        heatmaps = theirs.encode(points[None] * scale)["heatmaps"]
        np.testing.assert_allclose(own, heatmaps, atol=1e-4)
        noisy = heatmaps + rng.uniform(0, noise, heatmaps.shape).astype(np.float32)
        expected, scores = theirs.decode(noisy)
        expected = unit_lengths(expected, size) if name == "udp" else expected
        decoded, own_scores = ours.decode_batch(torch.tensor(noisy)[None])
        decoded_cells = decoded.numpy() / ours.scale.numpy()
        np.testing.assert_allclose(decoded_cells * 4, expected / scale * 4, atol=1e-4)
        np.testing.assert_array_equal(own_scores, scores)


def trained_maps(size: tuple[int, int], persons: int, lowest: float) -> np.ndarray:
    """Heatmaps ``(persons, 17, h, w)`` as of a trained network.

    A wide noisy peak of 0.2 to 1 at least 10 cells inside, up to 0.6 of it as a second
    mode anywhere, and a background noise that reaches ``lowest``.
    """
    (width, height), rng = heatmap_size(size), np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    shape = (persons, JOINTS, 1, 1)

    def blob(margin: int) -> np.ndarray:
        cx = rng.uniform(margin, width - 1 - margin, shape)
        cy = rng.uniform(margin, height - 1 - margin, shape)
        sx, sy = rng.uniform(2, 3, shape), rng.uniform(2, 3, shape)
        return np.exp(-((x - cx) ** 2) / (2 * sx**2) - (y - cy) ** 2 / (2 * sy**2))

    peak, second = blob(10), blob(0)
    peak *= 1 + 0.05 * rng.standard_normal(peak.shape)
    maps = peak + rng.uniform(0, 0.6, shape) * second
    maps = maps * rng.uniform(0.2, 1, shape)
    return (maps + lowest * rng.uniform(-0.5, 1, maps.shape)).astype(np.float32)


def sound_steps(name: str, maps: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Where MMPose's step is below a cell, and toward a maximum ``(K,)``.

    And where no cell that it reads is at the floor, below which the scale counts to
    which it brings the blurred map: that of its maximum anywhere, ours at the peak.
    """
    if name == "msra":
        return np.ones(len(maps), dtype=bool)
    floor = 1e-10 if name == "dark" else 1e-3
    blurred = np.maximum(gaussian_blur(maps.copy(), 11), floor)
    logs = np.log(blurred)
    k, (x, y) = np.arange(len(maps)), argmax_cells(maps).T
    reach = 2 if name == "dark" else 1  # cells to the outer samples of the difference
    here = logs[k, y, x]
    xx = (logs[k, y, x + reach] + logs[k, y, x - reach] - 2 * here) / reach**2
    yy = (logs[k, y + reach, x] + logs[k, y - reach, x] - 2 * here) / reach**2
    rising = logs[k, y + 1, x + 1] + logs[k, y - 1, x - 1]
    if name == "dark":
        xy = (rising - logs[k, y - 1, x + 1] - logs[k, y + 1, x - 1]) / 4
    else:
        sides = logs[k, y, x + 1] + logs[k, y, x - 1] + logs[k, y + 1, x]
        xy = (rising + 2 * here - sides - logs[k, y - 1, x]) / 2
    # Of flatter logarithms single precision gives no more than three digits.
    negative = (xx < 0) & (xx * yy > xy**2 + 1e-3)
    around = np.arange(-reach, reach + 1)
    read = blurred[k[:, None, None], y[:, None, None] + around[:, None],
                   x[:, None, None] + around]  # fmt: skip
    negative &= read.min((1, 2)) > floor
    return negative & (np.linalg.norm(steps, axis=-1) < 1)


def compare_decodes(name: str, persons: np.ndarray) -> int:
    """Assert equality to 1e-4 cells inside; gives the number of maps compared.

    Inside: at least 8 cells from the border, where MMPose's blur and steps reach no
    further, and wherever MMPose's own step is one toward a maximum.
    """
    size, cells = (192, 256), np.array([48, 64])
    ours, theirs = build_codec(name, size), mmpose_codec(name, size, 2.0, 11)
    compared = 0
    for maps in persons:
        expected, scores = theirs.decode(maps.copy())
        expected = expected[0] / size * (cells - 1 if name == "udp" else cells)
        decoded, own_scores = ours.decode_batch(torch.tensor(maps)[None])
        decoded = (decoded[0] / ours.scale).numpy()
        np.testing.assert_array_equal(own_scores, scores)
        peaks = argmax_cells(maps)
        interior = ((peaks >= 8) & (peaks < cells - 8)).all(-1)
        sound = np.zeros(len(maps), dtype=bool)
        inner = maps[interior]
        sound[interior] = sound_steps(name, inner, (expected - peaks)[interior])
        np.testing.assert_allclose(decoded[sound], expected[sound], atol=1e-4)
        compared += sound.sum()
    return compared


@pytest.mark.parametrize("lowest", [0.0, -0.02])
@pytest.mark.parametrize("name", ["msra", "dark", "udp"])
def test_equals_mmpose_on_maps_like_those_of_a_network(name, lowest):
    maps = trained_maps((192, 256), 20, lowest)
    assert (maps.min() < 0) == (lowest < 0)
    assert compare_decodes(name, maps) > 0.8 * 20 * JOINTS


@pytest.fixture(scope="module")
def network_maps(tmp_path_factory, compose_cell, geometry) -> np.ndarray:
    """What a network gives for real photos, ``(32, 17, 64, 48)``.

    HRNet-micro at 256x192 that learnt one augmented view of 32 photos by heart; here it
    sees them as they are, which gives maps with low, noisy and doubled peaks.
    """
    if "POSE_REAL_DATA" not in os.environ:
        pytest.skip("POSE_REAL_DATA does not name the folder of real photos")
    root = Path(os.environ["POSE_REAL_DATA"]).resolve() / "lspet_mini"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("trained"))
        settings = {"name": "lspet", "source": "coco_dir", "root": str(root)}
        prepare(settings, Path("data/lspet"))
        folder = Path("data/stores/lspet-256x192")
        downsample(STORE | {"data": "lspet", "size": "256x192"}, folder)
        train = CropStore(folder / "train")
    cell = compose_cell("method=udp", "size=256x192")["train"]
    torch.manual_seed(0)
    model = build_model(cell, train.keypoint_set, train.geometry).train()
    model.init_weights()
    crops = TrainingCrops(train, 0, AugmentSettings(**cell["augment"]))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for step in range(150):
        rows = np.arange(8) + 8 * (step % 4)
        data = model.data_preprocessor(crops[0, rows], True)
        loss, _ = model.parse_losses(model(**data, mode="loss"))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    images = train.inputs(slice(32))
    return predict_outputs(model.eval(), images, True)["heatmaps"].numpy()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["msra", "dark", "udp"])
def test_equals_mmpose_on_the_maps_of_a_trained_network(name, network_maps):
    assert 0.04 < network_maps.max((-2, -1)).mean() < 0.8
    assert compare_decodes(name, network_maps) > 0.2 * 32 * JOINTS


def test_dark_learns_joints_outside_where_mmpose_does():
    """Its MSRA and UDP round toward zero there, and are a cell off."""
    size = (48, 64)
    ours = build_codec("dark", size, transform="legacy")
    unit = torch.rand(1, 600, 2, generator=torch.Generator().manual_seed(0))
    joints = unit * torch.tensor([120.0, 140.0]) - 36
    theirs = mmpose_codec("dark", size, 1.0, 3).encode(joints.numpy())
    assert 0.2 < theirs["keypoint_weights"].mean() < 0.8
    target = encode_all(ours, joints)
    np.testing.assert_array_equal(target["weights"], theirs["keypoint_weights"])
    np.testing.assert_allclose(target["heatmaps"][0], theirs["heatmaps"], atol=1e-5)


@pytest.mark.parametrize(("sigma", "moved"), [(0.5, 0.27), (0.75, 0.95), (1.5, 0.6)])
def test_fractional_sigmas_keep_the_peak_where_mmpose_moves_it(sigma, moved):
    size = (48, 64)
    codec, joints = build_codec("msra", size, sigma=sigma), uniform_joints(size, 60)
    heatmaps = encode_all(codec, joints)["heatmaps"]
    rounded = torch.floor(joints / codec.scale + 0.5)
    assert (argmax_cells(heatmaps.numpy()) == rounded.numpy()).all()
    theirs, points = mmpose_codec("msra", size, sigma, 3), joints.numpy()
    maps = np.stack([theirs.encode(person[None])["heatmaps"] for person in points])
    wrong = (argmax_cells(maps) != np.floor(points / 4 + 0.5)).any(-1)
    assert wrong.mean() == pytest.approx(moved, abs=0.08)


@pytest.mark.parametrize("name", PLAIN)
def test_the_legacy_transform_is_mmpose_s(name):
    size, flip = (48, 64), [1, 0, *range(2, JOINTS)]
    codec = build_codec(name, size, transform="legacy")
    assert codec.scale.tolist() == [4, 4]
    maps = torch.rand(3, JOINTS, 16, 12)
    expected = flip_heatmaps(maps.clone(), flip, shift_heatmap=True)
    assert (codec.mirror({"heatmaps": maps}, flip)["heatmaps"] == expected).all()
    unshifted = flip_heatmaps(maps.clone(), flip, shift_heatmap=False)
    mirrored = build_codec(name, size).mirror({"heatmaps": maps}, flip)["heatmaps"]
    assert (mirrored == unshifted).all()


def combined_errors(size: tuple[int, int], persons: int):
    """MMPose's combined form and ours as released, offsets zeroed outside the disc.

    Returns whether the argmax of the blurred map leaves the disc and whether it is a
    tie, ``(N, K)``; and what both decode and the joints, ``(N, K, 2)`` in input px.
    """
    theirs = UDPHeatmap(size, heatmap_size(size), heatmap_type="combined")
    ours = build_codec("udp_offset", size, **RELEASED)
    joints = uniform_joints(size, persons)
    outputs = perfect_outputs(ours, joints)
    decoded = []
    for person in joints.numpy():
        maps = theirs.encode(person[None])["heatmaps"]
        maps = maps.reshape(JOINTS, 3, *maps.shape[1:])
        maps[:, 1:] *= maps[:, :1]
        keypoints = theirs.decode(maps.reshape(-1, *maps.shape[2:]))[0][0]
        decoded.append(unit_lengths(keypoints, size))
    own, _ = ours.decode_batch(outputs)
    blurred = ours.locate(outputs["heatmaps"])
    largest = blurred.flatten(-2).topk(2).values
    tie = largest[..., 0] - largest[..., 1] < 1e-6
    peaks = argmax_cells(blurred.numpy())
    away = peaks - (joints / ours.scale).numpy()
    left = np.linalg.norm(away, axis=-1) > ours.radius
    return left, tie.numpy(), np.stack(decoded), own.numpy(), joints.numpy()


@pytest.mark.parametrize(
    ("size", "share", "mean"),
    [("64x48", 0.81, 9.2), ("128x96", 0.35, 4.2), ("256x192", 0.06, 1.1)],
)
def test_the_released_blur_leads_out_of_the_disc(size, share, mean):
    left, tie, theirs, ours, joints = combined_errors(parse_size(size), 100)
    assert left.mean() == pytest.approx(share, abs=0.02)
    errors = np.linalg.norm(theirs - joints, axis=-1)
    assert errors.mean() == pytest.approx(mean, abs=0.3)
    # Where the argmax stays in the disc the offset makes up for it.
    assert (errors[~left] < 1e-3).all()
    np.testing.assert_allclose(ours[~tie], theirs[~tie], atol=1e-3)
    assert tie.mean() < 0.2
    codec = build_codec("udp_offset", parse_size(size))
    joints = torch.tensor(joints)
    decoded, _ = codec.decode_batch(perfect_outputs(codec, joints))
    assert (decoded - joints).norm(dim=-1).max() <= 1e-4


def test_the_released_combined_form_equals_mmpose():
    """Targets and decoded joints at 256x192, with noise on all maps."""
    size, persons = (192, 256), 4
    ours = build_codec("udp_offset", size, **RELEASED)
    theirs = UDPHeatmap(size, heatmap_size(size), heatmap_type="combined")
    joints = uniform_joints(size, persons, margin=60)
    target = encode_all(ours, joints)
    assert ours.radius == 3.5
    rng = np.random.default_rng(0)
    for i, person in enumerate(joints.numpy()):
        maps = theirs.encode(person[None])["heatmaps"].reshape(JOINTS, 3, 64, 48)
        assert (target["heatmaps"][i].numpy() == maps[:, 0]).all()
        offsets = maps[:, 1:] * maps[:, :1]
        np.testing.assert_allclose(target["offsets"][i], offsets, atol=1e-5)
        maps[:, 1:] = offsets * 0.9
        maps += rng.uniform(-0.05, 0.05, maps.shape).astype(np.float32)
        expected, scores = theirs.decode(maps.reshape(-1, 64, 48).copy())
        outputs = {"heatmaps": torch.tensor(maps[:, 0])[None]}
        outputs["offsets"] = torch.tensor(maps[:, 1:])[None]
        decoded, own_scores = ours.decode_batch(outputs)
        np.testing.assert_allclose(decoded, unit_lengths(expected, size), atol=1e-4)
        np.testing.assert_allclose(own_scores, scores, atol=1e-5)
