"""What every method of conf/method must do: build, learn, decode, and mirror."""

import io

import numpy as np
import pytest
import torch

from plugins.codecs import build_codec
from plugins.datasets.keypoint_sets import COCO17
from plugins.inference import predict_outputs
from plugins.model import build_model
from stages.plan import CONF

METHODS = sorted(path.stem for path in (CONF / "method").glob("*.yaml"))
SIZE, PERSONS, STEPS = "64x48", 4, 60
OVERFIT_STEPS = {"integral": 350}
"""By codec; 200 of others. A softmax's mean learns slowly from an even start."""
CELL = 47 / 11
BOUNDS = {"msra": 0.5, "argmax": 0.75}
"""Largest error in cells along an axis of perfect outputs; of others, 0.05."""
FALL = 5.0
"""By how much the loss falls on one batch that is shown again and again."""


def perfect_outputs(codec, target):
    """What a perfect network would give for a codec's targets."""
    if codec.produces == "coordinates":
        return {"keypoints": codec.to_normalised(target["keypoints"])}
    if codec.produces in ("logits", "bins"):
        names = {"heatmaps", "x", "y"} & set(target)
        return {name: target[name].clamp_min(1e-30).log() for name in names}
    return target


@pytest.fixture(scope="module", params=METHODS)
def method(request, compose_cell):
    """A method's ``train`` settings, on the smallest network."""
    overrides = (f"method={request.param}", "backbone=hrnet_micro", f"size={SIZE}")
    return compose_cell(*overrides)["train"]


@pytest.fixture(scope="module")
def batch(geometry) -> dict[str, torch.Tensor]:
    """Persons as bright dots apart, each keypoint with a colour and a region."""
    geometry, generator = geometry(SIZE), torch.Generator().manual_seed(3)
    width, height = geometry.input_size
    place = torch.stack((torch.arange(17) % 4, torch.arange(17) // 4), -1)
    place = (place + 0.5) / torch.tensor([4, 5]) * torch.tensor([width, height])
    keypoints = place + 7 * torch.rand(PERSONS, 17, 2, generator=generator) - 4
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
    crops = dots.sum(1).clamp(0, 255).to(torch.uint8)
    affines = torch.eye(2, 3).expand(PERSONS, 2, 3)
    return dict(crops=crops, affines=affines, keypoints=keypoints, visible=visible)


def make_model(method, geometry):
    """With MMEngine's initialisation, as a training has it."""
    torch.manual_seed(0)
    model = build_model(method, COCO17, geometry(SIZE)).train()
    model.init_weights()
    return model


def steps_of(model, data, optimizer, progress=(0.5,), schedule=None):
    """Train for as many steps as ``progress`` has shares; gives the losses."""
    losses = []
    for share in progress:
        model.head.objective.start_epoch(share)
        loss, _ = model.parse_losses(model(**data, mode="loss"))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if schedule is not None:
            schedule.step()
        losses.append(loss.item())
    return losses


@pytest.fixture(scope="module")
def learnt(method, batch, geometry):
    """The model after some steps on one batch, and the losses of the steps."""
    model = make_model(method, geometry)
    data = model.data_preprocessor(batch, training=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    losses = steps_of(model, data, optimizer, np.linspace(0, 1, STEPS))
    return model.eval(), losses


def test_it_learns_a_batch_by_heart(learnt, batch, geometry):
    model, losses = learnt
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < np.mean(losses[:3]) / FALL
    missing = [name for name, p in model.named_parameters() if p.grad is None]
    assert not [name for name in missing if name.startswith("head")], missing


@pytest.mark.slow
def test_it_overfits_a_batch_to_half_a_pixel(method, batch, geometry):
    """Mean error of its own decoder, eval mode; msra's targets are rounded.

    Its bound is half a pixel more than what its codec loses on perfect maps.
    """
    model = make_model(method, geometry)
    codec, name = model.head.codec, method["method"]["codec"]["name"]
    data = model.data_preprocessor(batch, training=True)
    steps = OVERFIT_STEPS.get(name, 200)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    steps_of(model, data, optimizer, np.linspace(0, 1, steps), schedule)
    with torch.inference_mode():
        found, _ = codec.decode_batch(model.eval()(data["inputs"], None, mode="tensor"))
    labelled, truth = batch["visible"] > 0, batch["keypoints"]
    bound = 0.5
    if name == "msra":
        target = codec.encode_batch(truth, batch["visible"])
        lost = codec.decode_batch(target)[0] - truth
        bound += lost.norm(dim=-1)[labelled].mean()
    assert (found - truth).norm(dim=-1)[labelled].mean() < bound


def test_every_output_is_decoded(learnt, batch):
    model, _ = learnt
    codec = model.head.codec
    keypoints, scores = codec.decode_batch(outputs_of(model, images_of(model, batch)))
    assert keypoints.shape == (PERSONS, 17, 2) and scores.shape == (PERSONS, 17)
    assert keypoints.isfinite().all() and ((scores >= 0) & (scores.isfinite())).all()
    # A step is at most a cell long, an offset at most the disc's radius.
    reach = CELL * max(1, getattr(codec, "radius", 1))
    last = codec.last_pixel(keypoints)
    assert ((keypoints >= -reach) & (keypoints <= last + reach)).all()


def test_predictions_do_not_depend_on_the_batch_size(learnt, batch):
    """To a thousandth of a pixel; convolutions add up in another order."""
    model, _ = learnt
    images = images_of(model, batch)
    decode = model.head.codec.decode_batch
    together = decode(outputs_of(model, images))[0]
    alone = [decode(outputs_of(model, images[i : i + 1]))[0] for i in range(PERSONS)]
    pair = [decode(outputs_of(model, images[i : i + 2]))[0] for i in (0, 2)]
    torch.testing.assert_close(torch.cat(alone), together, atol=1e-3, rtol=0)
    torch.testing.assert_close(torch.cat(pair), together, atol=1e-3, rtol=0)


def test_it_decodes_what_it_encodes(method):
    settings = method["method"]["codec"]
    codec = build_codec(**settings, input_size=(48, 64))
    bound = BOUNDS.get(settings["name"], 0.05)
    joints = torch.rand(200, 17, 2, generator=torch.manual_seed(0))
    if settings["name"] == "integral":  # its mean is drawn inward at the borders
        joints = 0.35 + 0.3 * joints
    joints = joints * torch.tensor([47, 63])
    target = codec.encode_batch(joints, torch.ones(200, 17))
    decoded, _ = codec.decode_batch(perfect_outputs(codec, target))
    assert ((decoded - joints) / CELL).abs().max() <= bound


def hide(batch: dict, how: str) -> dict:
    """The batch with labels missing, far outside the crop, or none at all."""
    visible, keypoints = batch["visible"].clone(), batch["keypoints"].clone()
    if how == "masked":
        visible[:, ::2], keypoints[:, ::4] = 0, float("nan")
    elif how == "outside":
        keypoints[:, ::2] += torch.tensor([-400.0, 900.0])
    else:
        visible[:] = 0
    return batch | {"visible": visible, "keypoints": keypoints}


@pytest.mark.parametrize("how", ["masked", "outside", "nobody"])
def test_it_survives_labels_that_are_missing(method, batch, geometry, how):
    model = make_model(method, geometry)
    data = model.data_preprocessor(hide(batch, how), training=True)
    model.head.objective.start_epoch(1.0)
    loss, _ = model.parse_losses(model(**data, mode="loss"))
    loss.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert loss.isfinite() and all(g.isfinite().all() for g in gradients)
    taught = any(g.abs().max() > 0 for g in gradients)
    assert taught == (how != "nobody")


def test_it_trains_in_bfloat16(method, batch, geometry):
    model = make_model(method, geometry)
    data = model.data_preprocessor(batch, training=True)
    model.head.objective.start_epoch(1.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = model(data["inputs"], None, mode="tensor")
        loss, _ = model.parse_losses(model(**data, mode="loss"))
    loss.backward()
    assert any(values.dtype == torch.bfloat16 for values in outputs.values())
    assert loss.dtype == torch.float32 and loss.isfinite()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert len(gradients) > 50 and all(g.isfinite().all() for g in gradients)
    keypoints, scores = model.head.codec.decode_batch(outputs)
    assert keypoints.isfinite().all() and scores.isfinite().all()


def test_it_goes_on_from_a_saved_state_as_if_nothing_had_been(method, batch, geometry):
    """Bit-equal: whatever a loss or a codec keeps must be in the state."""
    model = make_model(method, geometry)
    data = model.data_preprocessor(batch, training=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    steps_of(model, data, optimizer, [0.5] * 3)
    saved = io.BytesIO()
    torch.save(
        [model.state_dict(), optimizer.state_dict(), torch.get_rng_state()], saved
    )
    steps_of(model, data, optimizer, [0.5] * 3)
    saved.seek(0)
    weights, moments, numbers = torch.load(saved, weights_only=True)
    other = build_model(method, COCO17, geometry(SIZE)).train()
    other.load_state_dict(weights)
    optimizer = torch.optim.Adam(other.parameters(), lr=0.003)
    optimizer.load_state_dict(moments)
    torch.set_rng_state(numbers)
    steps_of(other, data, optimizer, [0.5] * 3)
    expected, found = model.state_dict(), other.state_dict()
    assert [n for n in expected if not torch.equal(expected[n], found[n])] == []


def test_the_flip_test_of_a_mirror_image_is_the_mirror_image(learnt, batch):
    model, _ = learnt
    images = images_of(model, batch)
    width = images.shape[2]
    outputs = outputs_of(model, images)
    mirrored = outputs_of(model, images[:, :, ::-1].copy())
    codec = model.head.codec
    back = codec.mirror(mirrored, COCO17.flip_indices)
    for name, values in outputs.items():
        torch.testing.assert_close(back[name], values, rtol=1e-4, atol=1e-4)
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
