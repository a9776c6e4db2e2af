"""What a training step is made of: parameter groups, precision, caches."""

import numpy as np
import pytest
import torch
from torch import nn

from plugins.constants import constant
from plugins.datasets import cache
from plugins.datasets.cache import choose_cache, free_memory, hold
from plugins.datasets.keypoint_sets import COCO17
from plugins.inference import predict_outputs
from plugins.model import build_model
from plugins.step import build_optimizer, prepare_model

CPU, GPU = torch.device("cpu"), torch.device("cuda")
ADAM = {"type": "AdamW", "lr": 0.01, "weight_decay": 0.5, "fused": True}
SCHEDULE = {"optimizer": ADAM, "precision": "fp32"}
CROPS = np.arange(5 * 4 * 3 * 3, dtype=np.uint8).reshape(5, 4, 3, 3)


def model_of(compose_cell, geometry, *overrides: str) -> nn.Module:
    train = compose_cell("size=32x24", *overrides)["train"]
    return build_model(train, COCO17, geometry("32x24"))


def test_all_parameters_are_updated_at_once(compose_cell, geometry):
    """MMEngine's groups of one parameter each made a tenth of a step of them."""
    model = model_of(compose_cell, geometry)
    groups = build_optimizer(model, SCHEDULE, "cpu").optimizer.param_groups
    assert [group["weight_decay"] for group in groups] == [0.5]
    assert {id(p) for p in groups[0]["params"]} == {id(p) for p in model.parameters()}


def test_learnt_weights_of_losses_do_not_decay(compose_cell, geometry):
    choices = ("auxiliary=bone", "auxiliary.balance=automatic")
    model = model_of(compose_cell, geometry, *choices)
    decayed, kept = build_optimizer(model, SCHEDULE, "cpu").optimizer.param_groups
    weights = model.head.objective.balance.parameters()
    assert {id(p) for p in kept["params"]} == {id(p) for p in weights}
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.5, 0.0)
    count = len(decayed["params"]) + len(kept["params"])
    assert count == len(list(model.parameters()))


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_the_network_runs_in_the_set_precision(precision, dtype):
    layer = nn.Linear(3, 2)
    wrapper = build_optimizer(layer, SCHEDULE | {"precision": precision}, "cpu")
    with wrapper.optim_context(layer):
        assert layer(torch.ones(1, 3)).dtype == dtype
    assert layer.weight.dtype == torch.float32


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="schedule.precision 'fp16': expected fp32 or"):
        build_optimizer(nn.Linear(1, 1), SCHEDULE | {"precision": "fp16"}, "cpu")


@pytest.mark.parametrize("channels_last", [True, False])
def test_maps_are_laid_out_as_set(compose_cell, geometry, channels_last):
    """Inputs with their channels last would lay out all maps that way."""
    model = model_of(compose_cell, geometry).eval()
    prepare_model(model, {"channels_last": channels_last, "compile": False})
    maps = []
    model.backbone.register_forward_hook(lambda *args: maps.extend(args[-1]))
    width, height = geometry("32x24").input_size
    photos = np.zeros((2, height, width, 3), np.uint8)
    predict_outputs(model, photos, flip_test=False)
    assert maps
    for values in maps:
        last = values.is_contiguous(memory_format=torch.channels_last)
        assert (last, values.is_contiguous()) == (channels_last, not channels_last)


def test_warp_colours_and_losses_keep_float32_under_autocast(compose_cell, geometry):
    """bfloat16 would move keypoints by up to half a pixel."""
    model = model_of(compose_cell, geometry, "method=cal").train()
    width, height = geometry("32x24").crop_size
    batch = {
        "crops": torch.randint(0, 255, (2, height, width, 3), dtype=torch.uint8),
        "affines": torch.eye(2, 3) + 0.1 * torch.rand(2, 2, 3),
        "keypoints": 20 * torch.rand(2, 17, 2),
        "visible": torch.full((2, 17), 2),
        "colours": 0.5 * torch.rand(2, 3, 4),
    }
    plain = model.data_preprocessor(batch, True)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model.data_preprocessor(batch, True)
        losses = model(**mixed, mode="loss")
    torch.testing.assert_close(mixed, plain, atol=0, rtol=0)
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    assert all(loss.isfinite() for loss in losses.values())


@pytest.mark.parametrize("wanted", ["none", "host", "device"])
def test_crops_are_the_same_wherever_they_wait(wanted, monkeypatch):
    monkeypatch.setattr(cache, "BLOCK", 3 * CROPS[0].nbytes + 1)
    held = hold(CROPS, wanted, CPU)
    assert isinstance(held, torch.Tensor) == (wanted == "device")
    assert np.shares_memory(np.asarray(held), CROPS) == (wanted == "none")
    np.testing.assert_array_equal(held, CROPS)


def test_the_nearest_place_with_room_is_taken(monkeypatch):
    def free(gpu: int, host: int) -> None:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (gpu, 2 * gpu))
        monkeypatch.setattr(cache, "free_memory", lambda: host)

    assert choose_cache("auto", 10, CPU) == "none"
    for gpu, host, expected in ((100, 0, "device"), (15, 100, "host"), (5, 5, "none")):
        free(gpu, host)
        assert choose_cache("auto", 10, GPU) == expected
        assert choose_cache("host", 10, GPU) == "host"
    assert free_memory() > 2**20


@pytest.mark.parametrize(
    ("wanted", "message"),
    [("gpu", "cache 'gpu': expected one of auto"), ("device", "there is no GPU")],
)
def test_a_cache_that_cannot_be_is_refused(wanted, message):
    with pytest.raises(ValueError, match=message):
        choose_cache(wanted, 1, CPU)


def test_constants_are_made_once_and_take_part_in_gradients():
    like = torch.ones(2, requires_grad=True)
    with torch.inference_mode():
        first = constant((1.5, 2.5), like)
    assert constant((1.5, 2.5), like) is first
    assert constant((1.5, 2.5), like.double()).dtype == torch.float64
    (like * first).sum().backward()
    assert like.grad.tolist() == [1.5, 2.5]
