"""The heatmap head: exact size, labelled keypoints alone, flip averaging."""

import pytest
import torch
from mmpose.registry import MODELS

from plugins.codecs import build_codec
from plugins.datasets.keypoint_sets import COCO17
from plugins.heads.heatmap import BatchedHeatmapHead


def make_head(size=(48, 64), channels=8, deconvolution=None, codec="udp"):
    return BatchedHeatmapHead(
        in_channels=channels,
        out_channels=17,
        codec={"name": codec, "input_size": size},
        deconv_out_channels=deconvolution,
        loss={"name": "mse"},
    )


@pytest.mark.parametrize("size", [(24, 32), (48, 64), (96, 128), (40, 72)])
def test_heatmaps_are_a_quarter_of_the_input_after_deconvolution(size):
    """ResNet's stride-32 maps have ceil(side / 32) cells; deconvolved, too many."""
    head = make_head(size, deconvolution=[8, 8, 8])
    width, height = (-(-side // 32) for side in size)
    heatmaps = head((torch.randn(2, 8, height, width),))
    assert heatmaps.shape == (2, 17, size[1] // 4, size[0] // 4)


def test_the_surplus_is_cut_at_the_right_and_bottom():
    head = make_head((24, 40))
    features = torch.randn(1, 8, 12, 8)
    whole = head.final_layer(features)
    torch.testing.assert_close(head((features,)), whole[..., :10, :6])


def test_loss_is_the_squared_error_of_labelled_keypoints():
    head, generator = make_head(), torch.Generator().manual_seed(0)
    features = (torch.randn(3, 8, 16, 12, generator=generator),)
    keypoints = 40 * torch.rand(3, 17, 2, generator=generator)
    visible = torch.randint(0, 3, (3, 17), generator=generator)
    losses = head.loss(features, {"keypoints": keypoints, "visible": visible}, {})
    target = build_codec("udp", (48, 64)).encode_batch(keypoints, visible)
    labelled = (visible > 0)[..., None, None]
    expected = ((head(features) - target["heatmaps"]) * labelled).square().mean()
    assert set(losses) == {"loss_heatmap"}
    torch.testing.assert_close(losses["loss_heatmap"], expected)


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
    assert head.final_layer.weight.grad[3].abs().max() == 0
    assert head.final_layer.weight.grad[4].abs().max() > 0


@pytest.mark.parametrize("name", ["msra", "dark", "udp"])
def test_flip_averaging_of_exact_maps_changes_nothing(name):
    """Left and right change places; the mirrored map needs no shift."""
    head, width = make_head(codec=name), 48
    # Away from halves of a cell, which a mirror image rounds the other way.
    cells = torch.randint(1, 10, (2, 17, 2), generator=torch.manual_seed(0)) + 0.3
    keypoints = cells * head.codec.scale
    mirrored = keypoints[:, COCO17.flip_indices].clone()
    mirrored[..., 0] = width - 1 - mirrored[..., 0]
    maps, flipped = (
        head.codec.encode_batch(points, torch.ones(2, 17))["heatmaps"]
        for points in (keypoints, mirrored)
    )
    average = head.average_flipped(maps, flipped, COCO17.flip_indices)
    torch.testing.assert_close(average, maps)


def test_mmpose_builds_it_by_its_class_name():
    head = MODELS.build(
        dict(
            type="BatchedHeatmapHead",
            in_channels=8,
            out_channels=17,
            codec={"name": "dark", "input_size": (48, 64), "kernel": 5},
            deconv_out_channels=None,
            loss={"name": "mse"},
        )
    )
    assert head.codec.kernel == 5


def test_errors_name_what_there_is():
    with pytest.raises(ValueError, match="loss 'mae': expected one of .*mse"):
        BatchedHeatmapHead(
            8, 17, {"name": "udp", "input_size": (48, 64)}, None, {"name": "mae"}
        )
