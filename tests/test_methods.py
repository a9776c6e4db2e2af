"""What every method of conf/method must do: build, learn, decode, and mirror."""

import numpy as np
import pytest
import torch

from plugins.codecs import build_codec
from plugins.datasets.batches import DRAWS
from plugins.datasets.keypoint_sets import COCO17
from plugins.inference import predict_outputs
from plugins.model import build_model
from stages.plan import CONF

METHODS = sorted(path.stem for path in (CONF / "method").glob("*.yaml"))
SIZE, PERSONS, STEPS = "64x48", 4, 60
PERFECT = {"heatmap": lambda target: target["heatmaps"]}
"""By kind of output: the output of a perfect network, from a codec's targets."""
BOUNDS = {"msra": 0.5, "argmax": 0.75}
"""Largest error in cells along an axis of perfect outputs; of others, 0.05."""
FALL = 5.0
"""By how much the loss falls on one batch that is shown again and again."""


@pytest.fixture(scope="module", params=METHODS)
def method(request, compose_cell):
    """A method's ``train`` settings, on the smallest network."""
    overrides = (f"method={request.param}", "backbone=hrnet_micro", f"size={SIZE}")
    return compose_cell(*overrides)["train"]


@pytest.fixture(scope="module")
def batch(geometry) -> dict[str, torch.Tensor]:
    """Persons as bright dots, each keypoint with a colour of its own."""
    geometry, generator = geometry(SIZE), torch.Generator().manual_seed(3)
    width, height = geometry.input_size
    size = torch.tensor([width - 1, height - 1])
    keypoints = (0.1 + 0.8 * torch.rand(PERSONS, 17, 2, generator=generator)) * size
    colours = torch.rand(17, 3, generator=generator) * 255
    crop_width, crop_height = geometry.crop_size
    y, x = torch.meshgrid(
        torch.arange(crop_height), torch.arange(crop_width), indexing="ij"
    )
    grid = torch.stack((x, y), -1) - geometry.margin
    distance = (grid - keypoints[:, :, None, None]).square().sum(-1)
    dots = torch.exp(-distance / 8)[..., None] * colours[:, None, None]
    visible = torch.full((PERSONS, 17), 2)
    visible[0, 5] = 0
    draws = torch.full((PERSONS, len(DRAWS)), 0.999)
    draws[:, [DRAWS.index("scale"), DRAWS.index("angle")]] = 0.5
    crops = dots.sum(1).clamp(0, 255).to(torch.uint8)
    return dict(crops=crops, keypoints=keypoints, visible=visible, draws=draws)


@pytest.fixture(scope="module")
def learnt(method, batch, geometry):
    """The model after some steps on one batch, and the losses of the steps."""
    torch.manual_seed(0)
    model = build_model(method, 17, geometry(SIZE)).train()
    data = model.data_preprocessor(batch, training=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    losses = []
    for _ in range(STEPS):
        parts = model(**data, mode="loss")
        loss, _ = model.parse_losses(parts)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return model.eval(), losses


def test_it_learns_a_batch_by_heart(learnt, batch, geometry):
    model, losses = learnt
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < np.mean(losses[:3]) / FALL
    missing = [name for name, p in model.named_parameters() if p.grad is None]
    assert not [name for name in missing if name.startswith("head")], missing


def test_every_output_is_decoded(learnt, batch):
    model, _ = learnt
    codec = model.head.codec
    keypoints, scores = codec.decode_batch(outputs_of(model, images_of(model, batch)))
    assert keypoints.shape == (PERSONS, 17, 2) and scores.shape == (PERSONS, 17)
    assert keypoints.isfinite().all() and (scores >= 0).all()
    # A step is at most a cell long, so that it may leave the map by a cell.
    cells = keypoints / codec.scale
    assert ((cells >= -1) & (cells <= torch.tensor(codec.heatmap_size))).all()


def test_it_decodes_what_it_encodes(method):
    codec = build_codec(**method["method"]["codec"], input_size=(48, 64))
    bound = BOUNDS.get(method["method"]["codec"]["name"], 0.05)
    joints = torch.rand(200, 17, 2, generator=torch.manual_seed(0))
    joints = joints * torch.tensor([47, 63])
    target = codec.encode_batch(joints, torch.ones(200, 17))
    decoded, _ = codec.decode_batch(PERFECT[codec.outputs](target))
    assert ((decoded - joints) / codec.scale).abs().max() <= bound


def test_the_flip_test_of_a_mirror_image_is_the_mirror_image(learnt, batch):
    model, _ = learnt
    images = images_of(model, batch)
    width = images.shape[2]
    outputs = outputs_of(model, images)
    mirrored = outputs_of(model, images[:, :, ::-1].copy())
    codec = model.head.codec
    keypoints, scores = codec.decode_batch(outputs)
    other, other_scores = codec.decode_batch(mirrored)
    other = other[:, COCO17.flip_indices]
    other[..., 0] = width - 1 - other[..., 0]
    torch.testing.assert_close(other_scores[:, COCO17.flip_indices], scores)
    # UDP's differences use one diagonal alone, so decoding is not quite symmetric.
    difference = (other - keypoints).norm(dim=-1)
    assert difference.median() < 0.2 and difference.quantile(0.9) < 1.5
    plain, _ = codec.decode_batch(predict_outputs(model, images, flip_test=False))
    assert (plain - keypoints).norm(dim=-1).quantile(0.9) > 0.3


def images_of(model, batch) -> np.ndarray:
    """Inputs ``(B, h, w, 3)`` uint8 of the crops."""
    geometry = model.data_preprocessor.geometry
    margin, (width, height) = geometry.margin, geometry.input_size
    crops = batch["crops"][:, margin : margin + height, margin : margin + width]
    return crops.numpy()


def outputs_of(model, images: np.ndarray):
    return predict_outputs(model, images, flip_test=True)
