"""Heads: exact sizes, losses of labelled keypoints alone, flip averaging."""

import pytest
import torch
from mmengine.registry import DefaultScope
from mmpose.registry import MODELS

from plugins.codecs import build_codec
from plugins.datasets.keypoint_sets import COCO17
from plugins.heads.heatmap import BatchedHeatmapHead
from plugins.heads.offset import BatchedOffsetHead
from plugins.heads.regression import BatchedRegressionHead
from plugins.heads.simcc import BatchedSimCCHead

NONE = {"name": "none", "balance": "fixed"}
CAL = {"name": "cal", "weighting": "disc", "offset_weight": 1.0}
CAL |= {"warmup": 0.0, "mask_sigma": 1.0, "components": 1}
KINDS = {
    "heatmap": (BatchedHeatmapHead, "udp", {"name": "mse"}),
    "offset": (BatchedOffsetHead, "cal", CAL),
    "simcc": (BatchedSimCCHead, "simcc", {"name": "simcc"}),
    "regression": (BatchedRegressionHead, "regression", {"name": "rle"}),
}


def make_head(
    size=(48, 64), channels=(8,), deconvolution=None, codec=None, kind="heatmap", **more
):
    head, own, loss = KINDS[kind]
    return head(
        in_channels=list(channels),
        out_channels=17,
        codec={"name": codec or own, "input_size": size},
        deconvolution=deconvolution,
        loss=loss,
        auxiliary=NONE,
        **more,
    )


@pytest.mark.parametrize("size", [(24, 32), (48, 64), (96, 128), (40, 72)])
def test_maps_are_a_quarter_of_the_input_after_deconvolution(size):
    """ResNet's stride-32 maps have ceil(side / 32) cells; deconvolved, too many."""
    width, height = (-(-side // 32) for side in size)
    features = (torch.randn(2, 8, height, width),)
    cells = (size[1] // 4, size[0] // 4)
    outputs = make_head(size, deconvolution=[8, 8, 8])(features)
    assert outputs["heatmaps"].shape == (2, 17, *cells)
    for trunk in ("split", "shared"):
        head = make_head(size, deconvolution=[8, 8, 8], kind="offset", trunk=trunk)
        outputs = head(features)
        assert outputs["heatmaps"].shape == (2, 17, *cells)
        assert outputs["offsets"].shape == (2, 17, 2, *cells)
    outputs = make_head(size, deconvolution=[8, 8, 8], kind="simcc")(features)
    bins = [2 * (side - 1) + 1 for side in size]
    assert [tuple(outputs[axis].shape) for axis in "xy"] == [(2, 17, n) for n in bins]


def test_the_surplus_is_cut_at_the_right_and_bottom():
    head = make_head((24, 40))
    features = torch.randn(1, 8, 12, 8)
    whole = head.maps.final_layer(features)
    found = head((features,))["heatmaps"]
    torch.testing.assert_close(found, whole[..., :10, :6])


def test_loss_is_the_squared_error_of_labelled_keypoints():
    head, generator = make_head(), torch.Generator().manual_seed(0)
    features = (torch.randn(3, 8, 16, 12, generator=generator),)
    keypoints = 40 * torch.rand(3, 17, 2, generator=generator)
    visible = torch.randint(0, 3, (3, 17), generator=generator)
    losses = head.loss(features, {"keypoints": keypoints, "visible": visible}, {})
    target = build_codec("udp", (48, 64)).encode_batch(keypoints, visible)
    labelled = (visible > 0)[..., None, None]
    difference = head(features)["heatmaps"] - target["heatmaps"]
    assert set(losses) == {"loss_heatmap"}
    torch.testing.assert_close(
        losses["loss_heatmap"], (difference * labelled).square().mean()
    )


def test_unlabelled_keypoints_have_no_influence():
    head, features = make_head(), (torch.ones(1, 8, 16, 12),)
    visible = torch.ones(1, 17)
    visible[0, 3] = 0
    keypoints = torch.full((1, 17, 2), 20.0)
    moved = keypoints.clone()
    moved[0, 3] = torch.tensor([3.0, float("nan")])
    losses = [
        head.loss(features, {"keypoints": k, "visible": visible}, {})["loss_heatmap"]
        for k in (keypoints, moved)
    ]
    torch.testing.assert_close(*losses)
    losses[0].backward()
    gradient = head.maps.final_layer.weight.grad
    assert gradient[3].abs().max() == 0
    assert gradient[4].abs().max() > 0


@pytest.mark.parametrize("name", ["msra", "dark", "udp"])
def test_flip_averaging_of_exact_maps_changes_nothing(name):
    """Left and right change places; the mirrored map needs no shift."""
    codec, width = make_head(codec=name).codec, 48
    # Away from halves of a cell, which a mirror image rounds the other way.
    cells = torch.randint(1, 10, (2, 17, 2), generator=torch.manual_seed(0)) + 0.3
    keypoints = cells * codec.scale
    mirrored = keypoints[:, COCO17.flip_indices].clone()
    mirrored[..., 0] = width - 1 - mirrored[..., 0]
    maps, flipped = (
        codec.encode_batch(points, torch.ones(2, 17))["heatmaps"]
        for points in (keypoints, mirrored)
    )
    found = codec.mirror({"heatmaps": flipped}, COCO17.flip_indices)["heatmaps"]
    torch.testing.assert_close((maps + found) / 2, maps)


def test_split_branches_read_a_map_each_and_shared_ones_the_same():
    """CAL's two last stages; one map alone must serve both where there is no second."""
    first, second = torch.randn(2, 1, 8, 16, 12)
    head = make_head(channels=(8, 8), kind="offset").eval()
    plain = head((first, second))
    other = head((first, second + 1))
    assert torch.equal(plain["heatmaps"], other["heatmaps"])
    assert not torch.equal(plain["offsets"], other["offsets"])
    other = head((first + 1, second))
    assert not torch.equal(plain["heatmaps"], other["heatmaps"])
    assert torch.equal(plain["offsets"], other["offsets"])
    assert head((first,))["offsets"].shape == (1, 17, 2, 16, 12)


def test_offset_channels_are_x_then_y_of_each_keypoint():
    """Checkpoints depend on the order."""
    head = make_head(kind="offset", trunk="shared", blocks=0)
    final = head.offsets[0].final_layer
    torch.nn.init.zeros_(final.weight)
    final.bias.data = torch.arange(34.0)
    offsets = head((torch.zeros(1, 8, 16, 12),))["offsets"]
    assert (offsets[0, 3, 0] == 6).all() and (offsets[0, 3, 1] == 7).all()


@pytest.mark.parametrize(("trunk", "blocks"), [("split", 2), ("shared", 0)])
def test_what_each_branch_holds(trunk, blocks):
    head = make_head(
        (48, 64), deconvolution=[8, 8, 8], kind="offset", trunk=trunk, blocks=blocks
    )
    names = [type(layer).__name__ for layer in head.offsets]
    own = trunk == "split"
    assert names == ["MapLayers"] * own + ["BasicBlock"] * blocks + ["MapLayers"]
    assert isinstance(head.upsampling, torch.nn.Identity) == own
    assert head.reads(trunk) == {"split": "two", "shared": "finest"}[trunk]
    assert BatchedRegressionHead.reads() == "all"
    assert BatchedHeatmapHead.reads() == BatchedSimCCHead.reads() == "finest"


def test_regression_reads_the_means_of_all_maps():
    head = make_head(channels=(8, 4), kind="regression", sigmas=True)
    fine, coarse = torch.randn(3, 8, 16, 12), torch.randn(3, 4, 8, 6)
    found = head((fine, coarse))
    means = torch.cat((fine.mean((2, 3)), coarse.mean((2, 3))), 1)
    expected = head.linear(means).view(3, 2, 17, 2)
    torch.testing.assert_close(found["keypoints"], expected[:, 0])
    torch.testing.assert_close(found["sigmas"], expected[:, 1])
    assert set(make_head(kind="regression")((fine,))) == {"keypoints"}


def test_simcc_classifies_the_flattened_map():
    """Rows of the map one after another, as in SimCC."""
    head = make_head(kind="simcc")
    features = torch.randn(2, 8, 16, 12)
    vectors = head.maps.final_layer(features).reshape(2, 17, 16 * 12)
    found = head((features,))
    for name in "xy":
        layer = getattr(head, name)
        expected = vectors @ layer.weight.T + layer.bias
        torch.testing.assert_close(found[name], expected)


def test_losses_are_taken_in_float32_whatever_the_autocast():
    """Encoding too: a bfloat16 target would be off by a third of a per cent."""
    head, features = make_head(), (torch.randn(2, 8, 16, 12),)
    keypoints = 40 * torch.rand(2, 17, 2)
    batch = {"keypoints": keypoints, "visible": torch.ones(2, 17)}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        heatmaps = head(features)["heatmaps"]
        loss = head.loss(features, batch, {})["loss_heatmap"]
    target = head.codec.encode_batch(keypoints, torch.ones(2, 17))["heatmaps"]
    assert heatmaps.dtype == torch.bfloat16 and loss.dtype == torch.float32
    torch.testing.assert_close(loss, (heatmaps.float() - target).square().mean())


def test_mmpose_builds_it_by_its_class_name():
    settings = dict(
        type="BatchedHeatmapHead",
        in_channels=[8],
        out_channels=17,
        codec={"name": "dark", "input_size": (48, 64), "kernel": 5},
        deconvolution=None,
        loss={"name": "mse"},
        auxiliary=NONE,
    )
    # A Runner of an earlier test leaves MMEngine's scope behind.
    with DefaultScope.overwrite_default_scope("mmpose"):
        head = MODELS.build(settings)
    assert head.codec.kernel == 5


def test_errors_name_what_there_is():
    codec = {"name": "udp", "input_size": (48, 64)}
    with pytest.raises(ValueError, match="loss 'mae': expected one of .*mse"):
        BatchedHeatmapHead([8], 17, None, codec, {"name": "mae"}, NONE)
    with pytest.raises(ValueError, match="trunk 'two': expected one of split, shared"):
        make_head(kind="offset", trunk="two")
