"""Backbones: cost, feature sizes, branches, equality with MMPose's HRNet.

Golden costs are written by: python -m tests.test_backbones > tests/golden_costs.csv
"""

import csv
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmpose.models.backbones.hrnet import HRNet
from mmpose.registry import MODELS

from plugins.backbones.hrnet import SizedHRNet, count_branches
from plugins.datasets.keypoint_sets import COCO17
from plugins.model import build_model
from plugins.registry import BACKBONES as NETWORKS
from plugins.registry import typed
from stages.downsample import make_geometry
from stages.evaluate.describe import measure_cost
from stages.plan import CONF, plan

GOLDEN = Path(__file__).parent / "golden_costs.csv"
BACKBONES = sorted(path.stem for path in (CONF / "backbone").glob("*.yaml"))
SIZES = ("32x24", "64x48", "128x96", "256x192")
SMALL = dict(
    widths=[4, 8, 16, 32],
    modules=[1, 1, 1],
    blocks=1,
    stem_width=8,
    stage1={"block": "BOTTLENECK", "blocks": 1, "width": 4},
)


def cost(backbone: str, size: str) -> tuple[int, float]:
    """Parameters and GMACs of backbone and head, as evaluate reports them."""
    (cell,) = plan(["grid=single", f"backbone={backbone}", f"size={size}"])[
        "cells"
    ].values()
    geometry = make_geometry({"size": size, "context": 0.25, "oversample": 1})
    return measure_cost(build_model(cell["train"], COCO17, geometry))


def golden_costs() -> dict[tuple[str, str], tuple[int, float]]:
    with open(GOLDEN, newline="") as handle:
        return {
            (row["backbone"], row["size"]): (int(row["parameters"]), row["gmacs"])
            for row in csv.DictReader(handle)
        }


def quick(backbone: str, size: str) -> bool:
    return size == "64x48" or backbone in ("hrnet_micro", "resnet18")


@pytest.mark.parametrize(
    ("backbone", "size"),
    [
        pytest.param(b, s, marks=() if quick(b, s) else pytest.mark.slow)
        for b in BACKBONES
        for s in SIZES
    ],
)
def test_parameters_and_macs_are_the_golden_ones(backbone, size):
    parameters, gmacs = cost(backbone, size)
    assert (parameters, f"{gmacs:.4f}") == golden_costs()[backbone, size]


def test_golden_costs_are_the_published_ones_at_256x192():
    """28.5 M and 7.7 (mmpose and HRNet count 7.1 without elementwise work), 34.0 M."""
    golden = golden_costs()
    parameters, gmacs = golden["hrnet_w32", "256x192"]
    assert parameters / 1e6 == pytest.approx(28.54, abs=0.005)
    assert float(gmacs) == pytest.approx(7.7, abs=0.1)
    assert golden["resnet50", "256x192"][0] / 1e6 == pytest.approx(34.0, abs=0.05)
    assert 0.8e6 < golden["hrnet_micro", "128x96"][0] < 1.3e6
    assert {backbone for backbone, _ in golden} == set(BACKBONES)


@pytest.mark.parametrize(
    ("size", "branches"),
    [((24, 32), 2), ((48, 64), 3), ((64, 64), 4), ((96, 128), 4), ((192, 256), 4),
     ((32, 128), 3), ((128, 24), 2)],
)  # fmt: skip
def test_branches_keep_two_cells(size, branches):
    assert count_branches(size) == branches
    network = SizedHRNet(size, **SMALL)
    assert len(network.stage4[0].branches) == branches
    assert network.stage2[0].num_branches == 2


@settings(max_examples=25, deadline=None)
@given(st.integers(3, 26), st.integers(3, 26))
def test_features_are_a_quarter_of_any_multiple_of_8(eighths_x, eighths_y):
    width, height = 8 * eighths_x, 8 * eighths_y
    network = SizedHRNet((width, height), **SMALL)
    network.eval()
    with torch.inference_mode():
        (features,) = network(torch.zeros(1, 3, height, width))
    assert features.shape == (1, SMALL["widths"][0], height // 4, width // 4)


def feature_shapes(backbone: str, size: str, features: str) -> list[tuple[int, ...]]:
    """Shapes of what a backbone of conf/ gives, and the channels that it says."""
    (cell,) = plan(["grid=single", f"backbone={backbone}"])["cells"].values()
    height, width = map(int, size.split("x"))
    settings = typed(NETWORKS, cell["train"]["backbone"]["network"])
    settings |= {"input_size": (width, height), "features": features}
    network = MODELS.build(dict(settings))
    network.eval()
    with torch.inference_mode():
        maps = network(torch.zeros(1, 3, height, width))
    assert [m.shape[1] for m in maps] == settings["type"].channels(settings, features)
    return [tuple(m.shape[1:]) for m in maps]


@pytest.mark.parametrize("size", ["32x24", "64x48", "128x96"])
@pytest.mark.parametrize("features", ["finest", "two", "all"])
def test_channels_are_those_of_the_features(size, features):
    shapes = feature_shapes("hrnet_micro", size, features)
    height, width = map(int, size.split("x"))
    finest = (16, height // 4, width // 4)
    branches = {"32x24": 2, "64x48": 3, "128x96": 4}[size]
    assert len(shapes) == {"finest": 1, "two": 2, "all": branches}[features]
    assert shapes[0] == finest
    if features == "two":
        assert shapes[1] == finest
    if features == "all":
        sides = [(-(-height // s), -(-width // s)) for s in (4, 8, 16, 32)[:branches]]
        assert [shape[1:] for shape in shapes] == sides


@pytest.mark.parametrize("features", ["finest", "two", "all"])
def test_resnet_has_one_map_for_every_head(features):
    assert feature_shapes("resnet18", "64x48", features) == [(512, 2, 2)]


def test_the_two_last_stages_share_nothing_but_what_is_before():
    """CAL: stages 1 to 3 shared, a stage 4 for each of heatmap and offset."""
    network = SizedHRNet((48, 64), **SMALL, features="two")
    first, second = network(torch.randn(2, 3, 64, 48))
    (found,) = torch.autograd.grad(
        second.sum(), network.conv1.weight, retain_graph=True
    )
    assert found.abs().max() > 0
    own = list(network.stage4.parameters()) + list(network.transition3.parameters())
    gradients = torch.autograd.grad(second.sum(), own, allow_unused=True)
    assert all(gradient is None for gradient in gradients)
    copied = {id(p) for p in network.second_stage.parameters()}
    assert copied and not copied & {id(p) for p in own}
    plain = SizedHRNet((48, 64), **SMALL)
    cost_of = [sum(p.numel() for p in n.parameters()) for n in (network, plain)]
    stage = sum(p.numel() for p in own)
    assert cost_of[0] - cost_of[1] == stage
    assert first.shape == second.shape


def test_equals_mmpose_hrnet_where_that_runs():
    """Same weights, W32's structure at 256x192: the fusion cuts nothing there."""
    widths, modules = [32, 64, 128, 256], [1, 2, 1]
    extra = {
        f"stage{number}": dict(
            num_modules=modules[number - 2],
            num_branches=number,
            block="BASIC",
            num_blocks=(1,) * number,
            num_channels=tuple(widths[:number]),
        )
        for number in (2, 3, 4)
    }
    first = dict(num_modules=1, num_branches=1, num_blocks=(4,), num_channels=(64,))
    theirs = HRNet(extra=extra | {"stage1": first | {"block": "BOTTLENECK"}})
    stage1 = {"block": "BOTTLENECK", "blocks": 4, "width": 64}
    ours = SizedHRNet((192, 256), widths, modules, 1, 64, stage1)
    generator = torch.Generator().manual_seed(0)
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.uniform_(-0.5, 0.5, generator=generator)
    ours.load_state_dict(theirs.state_dict())
    theirs.eval(), ours.eval()
    image = torch.randn(1, 3, 256, 192, generator=generator)
    with torch.inference_mode():
        expected, features = theirs(image)[0], ours(image)[0]
    assert expected.std() > 1e-3
    torch.testing.assert_close(features, expected, atol=1e-6, rtol=1e-6)


def test_fusion_keeps_cells_in_place_where_sides_are_odd():
    """Upsampled maps have a cell too many, which is cut at the right and bottom."""
    module = SizedHRNet((24, 40), **SMALL).stage2[0]
    module.eval()
    module.branches = torch.nn.ModuleList([torch.nn.Identity(), torch.nn.Identity()])
    fine, coarse = torch.zeros(1, 4, 9, 5), torch.zeros(1, 8, 5, 3)
    coarse[0, :, 1, 2] = torch.tensor([8.0, -7, 6, -5, 4, -3, 2, -1])
    with torch.inference_mode():
        changed = module([fine, coarse])[0] != module([fine, 0 * coarse])[0]
    rows, columns = changed[0].any(0).nonzero().unbind(-1)
    assert (set(rows.tolist()), set(columns.tolist())) == ({2, 3}, {4})


def main() -> None:
    """Print the golden costs."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["backbone", "size", "parameters", "gmacs"])
    for backbone in BACKBONES:
        for size in SIZES:
            parameters, gmacs = cost(backbone, size)
            writer.writerow([backbone, size, parameters, f"{gmacs:.4f}"])


if __name__ == "__main__":
    main()
