"""Losses against independent references, and what no label may change."""

import numpy as np
import pytest
import torch
from mmpose.models.losses import RLELoss as PublishedRLELoss
from mmpose.models.losses.heatmap_loss import CombinedTargetMSELoss
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from plugins.codecs import build_codec
from plugins.datasets.keypoint_sets import COCO17
from plugins.losses.common.balance import AutomaticBalance
from plugins.losses.common.masked import masked_mean
from plugins.losses.common.objective import Objective, build_loss
from plugins.losses.coordinates import jensen_shannon
from tests.random_outputs import SIZE, make_batch, random_outputs

NONE = {"name": "none", "balance": "fixed"}
BONE = {"name": "bone", "weight": 1.0, "pairs": "skeleton", "measured": "coordinates"}
BONE |= {"keypoint_set": COCO17}
ON_MAPS = BONE | {"measured": "heatmaps"}
CAL = {"name": "cal", "offset_weight": 0.7, "warmup": 0.0, "mask_sigma": 1.0}
CAL |= {"components": 2}
EVERY = {
    "mse": ({"name": "mse"}, "udp"),
    "combined": ({"name": "combined"}, "udp_offset"),
    "l1": ({"name": "coordinates", "norm": "l1"}, "regression"),
    "l2": ({"name": "coordinates", "norm": "l2"}, "regression"),
    "ipr": ({"name": "coordinates", "norm": "l1"}, "integral"),
    "dsnt": ({"name": "coordinates", "norm": "l2", "divergence": 1.0}, "integral"),
    "rle": ({"name": "rle"}, "regression"),
    "simcc": ({"name": "simcc"}, "simcc"),
    **{
        f"bone-{codec}": (BONE, codec)
        for codec in ("udp", "cal", "integral", "simcc", "regression")
    },
    "bone-maps": (ON_MAPS, "udp"),
    "bone-all": (BONE | {"pairs": "all"}, "udp"),
    **{
        f"cal-{mode}": (CAL | {"weighting": mode}, "cal")
        for mode in ("disc", "gt", "pred", "gmm", "flow")
    },
}
"""Losses with a codec that they work with."""


@pytest.fixture(params=EVERY)
def pair(request):
    settings, codec = EVERY[request.param]
    torch.manual_seed(0)
    return build_loss(settings), build_codec(codec, SIZE)


def value_and_gradients(loss, codec, outputs, keypoints, visible):
    """Sum of the terms, and its gradient with respect to every output."""
    torch.manual_seed(1)
    outputs = {name: o.clone().requires_grad_() for name, o in outputs.items()}
    target = codec.encode_batch(keypoints, visible)
    terms = loss(outputs, target, codec)
    assert set(terms) == set(loss.terms)
    total = sum(terms.values())
    total.backward()
    gradients = {
        name: torch.zeros_like(o) if o.grad is None else o.grad
        for name, o in outputs.items()
    }
    return total.detach(), gradients


def test_unlabelled_and_unknown_keypoints_have_no_influence(pair):
    """Visibility 0, NaN labelled or not, and what lies far outside the input."""
    loss, codec = pair
    keypoints, visible = make_batch(3)
    outputs = random_outputs(codec, 3)
    hidden = torch.zeros(3, 17, dtype=torch.bool)
    hidden[0, 3] = hidden[1, 5] = hidden[2, 7] = hidden[2, 8] = True
    visible[0, 3] = visible[2, 8] = 0
    keypoints[1, 5], keypoints[2, 7] = float("nan"), -1e4
    before = {name: value.clone() for name, value in loss.state_dict().items()}
    plain, gradients = value_and_gradients(loss, codec, outputs, keypoints, visible)
    assert plain.isfinite() and plain != 0
    loss.load_state_dict(before)
    keypoints[0, 3], keypoints[2, 8] = torch.tensor([3.0, 60.0]), float("nan")
    changed = {name: value.clone() for name, value in outputs.items()}
    for values in changed.values():
        values[hidden] = 100 * values[hidden].flip(-1) + 5
    other, others = value_and_gradients(loss, codec, changed, keypoints, visible)
    torch.testing.assert_close(other, plain)
    for name, gradient in gradients.items():
        assert gradient.isfinite().all()
        assert (gradient[hidden] == 0).all() and (others[name][hidden] == 0).all()
        torch.testing.assert_close(others[name], gradient)
    assert any(gradient[~hidden].abs().max() > 0 for gradient in gradients.values())


def test_a_batch_without_labels_teaches_nothing(pair):
    loss, codec = pair
    outputs = random_outputs(codec, 2)
    keypoints = torch.full((2, 17, 2), float("nan"))
    total, gradients = value_and_gradients(
        loss, codec, outputs, keypoints, torch.zeros(2, 17)
    )
    assert total == 0
    assert all((gradient == 0).all() for gradient in gradients.values())


def test_perfect_outputs_cost_nothing(pair):
    """Targets of distributions as logits; a density has no perfect value."""
    loss, codec = pair
    keypoints, visible = make_batch(2, margin=0.3)
    target = codec.encode_batch(keypoints, visible)
    if not loss.bounded or "flow" in loss.terms:
        return
    perfect = dict(target)
    if codec.produces == "coordinates":
        perfect = {"keypoints": codec.to_normalised(keypoints)}
    if codec.produces in ("logits", "bins"):
        names = {"heatmaps", "x", "y"} & set(target)
        perfect = {name: target[name].clamp_min(1e-30).log() for name in names}
    total, _ = value_and_gradients(loss, codec, perfect, keypoints, visible)
    worse = {
        name: values + 0.3 * torch.randn(values.shape)
        for name, values in perfect.items()
    }
    more, _ = value_and_gradients(loss, codec, worse, keypoints, visible)
    # The bound is the soft decode's error of udp's Gaussians, cut at 3 sigmas.
    assert -1e-8 <= total <= 3e-5 and total < more / 1000


def test_combined_is_mmposes():
    """Three channels a keypoint there: the disc, x and y."""
    codec = build_codec("udp_offset", SIZE)
    keypoints, visible = make_batch(4)
    visible[1, 4:9] = 0
    target, outputs = codec.encode_batch(keypoints, visible), random_outputs(codec, 4)
    target["offsets"] += torch.randn(target["offsets"].shape)  # outside the disc too

    def channels(maps):
        parts = torch.cat((maps["heatmaps"][:, :, None], maps["offsets"]), 2)
        return parts.flatten(1, 2)

    theirs = CombinedTargetMSELoss(use_target_weight=True)
    expected = theirs(channels(outputs), channels(target), target["weights"])
    found = build_loss({"name": "combined"})(outputs, target, codec)
    torch.testing.assert_close(sum(found.values()), expected)


def trained_looking_flow(flow) -> None:
    """Weights as large as learnt ones; the initial ones are almost the identity."""
    for parameter in flow.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape)


def test_rle_is_mmposes():
    """Theirs is normalised by the persons, ours by the labelled keypoints."""
    torch.manual_seed(0)
    codec = build_codec("regression", SIZE)
    ours, theirs = build_loss({"name": "rle"}), PublishedRLELoss(residual=True)
    trained_looking_flow(ours.flow)
    theirs.flow_model.load_state_dict(ours.flow.state_dict())
    keypoints, visible = make_batch(4)
    target, outputs = codec.encode_batch(keypoints, visible), random_outputs(codec, 4)
    for value in outputs.values():
        value.requires_grad_()
    found = ours(outputs, target, codec)["rle"]
    truth = codec.to_normalised(keypoints)
    expected = theirs(outputs["keypoints"], outputs["sigmas"], truth) / 17
    torch.testing.assert_close(found, expected)
    for value in (*outputs.values(), *ours.flow.parameters()):
        other = value
        if not any(value is output for output in outputs.values()):
            pairs = zip(
                ours.flow.parameters(), theirs.flow_model.parameters(), strict=True
            )
            other = next(b for a, b in pairs if a is value)
        mine = torch.autograd.grad(found, value, retain_graph=True)[0]
        others = torch.autograd.grad(expected, other, retain_graph=True)[0]
        torch.testing.assert_close(mine, others, atol=1e-5, rtol=1e-4)


def test_outliers_leave_rle_finite():
    """Wrong labels, and a sigma that has collapsed, where the flow would overflow."""
    torch.manual_seed(0)
    codec = build_codec("regression", SIZE)
    loss = build_loss({"name": "rle"})
    trained_looking_flow(loss.flow)
    keypoints, visible = make_batch(2)
    outputs = random_outputs(codec, 2)
    outputs["keypoints"][0, :4] = torch.tensor([1e6, -1e6])
    outputs["sigmas"][0, 2:6], outputs["sigmas"][1, :3] = -1e3, 1e3
    total, gradients = value_and_gradients(loss, codec, outputs, keypoints, visible)
    assert total.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    assert all(p.grad.isfinite().all() for p in loss.flow.parameters())


def test_simcc_is_scipys_divergence():
    codec = build_codec("simcc", SIZE)
    keypoints, visible = make_batch(3)
    visible[0, 2] = 0
    target, outputs = codec.encode_batch(keypoints, visible), random_outputs(codec, 3)
    expected = [
        sum(entropy(target[a][n, k], outputs[a][n, k].softmax(-1)) for a in "xy")
        for n in range(3)
        for k in range(17)
        if visible[n, k]
    ]
    found = build_loss({"name": "simcc"})(outputs, target, codec)["bins"]
    assert float(found) == pytest.approx(np.mean(expected), rel=1e-5)


@pytest.mark.parametrize(
    ("norm", "of"),
    [
        ("l1", lambda d: abs(d)),
        ("l2", lambda d: d * d),
    ],
)
def test_coordinate_norms_are_sums_over_both_axes(norm, of):
    codec = build_codec("regression", SIZE)
    keypoints, visible = make_batch(3)
    visible[0, 2] = 0
    target, outputs = codec.encode_batch(keypoints, visible), random_outputs(codec, 3)
    expected = [
        sum(
            of(float(outputs["keypoints"][n, k, a] + 0.5 - keypoints[n, k, a] / last))
            for a, last in enumerate((47, 63))
        )
        for n in range(3)
        for k in range(17)
        if visible[n, k]
    ]
    loss = build_loss({"name": "coordinates", "norm": norm})
    found = loss(outputs, target, codec)["coordinates"]
    assert float(found) == pytest.approx(np.mean(expected), rel=1e-5)


def test_integral_losses_are_those_of_the_softmax():
    codec = build_codec("integral", SIZE)
    keypoints, visible = make_batch(2)
    target, outputs = codec.encode_batch(keypoints, visible), random_outputs(codec, 2)
    errors, divergences = [], []
    for n in range(2):
        for k in range(17):
            logits = outputs["heatmaps"][n, k].double().numpy()
            share = np.exp(logits) / np.exp(logits).sum()
            x = (share.sum(0) * np.arange(12)).sum() / 11
            y = (share.sum(1) * np.arange(16)).sum() / 15
            true_x, true_y = (keypoints[n, k] / torch.tensor([47, 63])).tolist()
            errors.append((x - true_x) ** 2 + (y - true_y) ** 2)
            goal = target["heatmaps"][n, k].double().numpy()
            divergences.append(jensenshannon(share.ravel(), goal.ravel()) ** 2)
    settings = {"name": "coordinates", "norm": "l2", "divergence": 0.5}
    found = build_loss(settings)(outputs, target, codec)
    assert float(found["coordinates"]) == pytest.approx(np.mean(errors), rel=1e-4)
    expected = 0.5 * np.mean(divergences)
    assert float(found["divergence"]) == pytest.approx(expected, rel=1e-4)


def test_divergence_is_scipys_where_cells_are_empty():
    first, second = torch.rand(2, 3, 4, 5, 6, generator=torch.manual_seed(0))
    first[:, :, :2], second[..., :4] = 0, 0
    first /= first.sum((-2, -1), keepdim=True)
    second /= second.sum((-2, -1), keepdim=True)
    second[0, 0] = first[0, 0]
    found = jensen_shannon(first, second)
    for index in np.ndindex(3, 4):
        expected = jensenshannon(first[index].ravel(), second[index].ravel()) ** 2
        assert float(found[index]) == pytest.approx(np.nan_to_num(expected), abs=1e-6)


def test_the_divergences_gradient_is_finite_where_the_softmax_underflows():
    """A softmax of a Gaussian's logits has zeros from 15 cells on (sigma 1)."""
    codec = build_codec("integral", SIZE)
    outputs = {"heatmaps": torch.zeros(1, 17, 16, 12)}
    outputs["heatmaps"][..., 3, 3] = 150
    keypoints = torch.full((1, 17, 2), 30.0)
    loss = build_loss({"name": "coordinates", "norm": "l2", "divergence": 1.0})
    total, gradients = value_and_gradients(
        loss, codec, outputs, keypoints, torch.ones(1, 17)
    )
    assert total.isfinite() and gradients["heatmaps"].isfinite().all()


def pair_lengths(points: np.ndarray, pairs) -> list[float]:
    return [np.sqrt(((points[i] - points[j]) ** 2).sum()) for i, j in pairs]


@pytest.mark.parametrize("chosen", ["all", "skeleton"])
@pytest.mark.parametrize("measured", ["coordinates", "heatmaps"])
def test_bone_loss_is_that_of_a_loop(chosen, measured):
    pairs = [(i, j) for i in range(17) for j in range(i + 1, 17)]
    pairs = pairs if chosen == "all" else COCO17.skeleton
    codec = build_codec("udp", SIZE)
    keypoints, visible = make_batch(3)
    visible[0, 2:9], visible[1] = 0, 0
    target, outputs = codec.encode_batch(keypoints, visible), random_outputs(codec, 3)
    points = codec.soft_decode(outputs) / 63, keypoints / 63
    if measured == "heatmaps":
        points = outputs["heatmaps"].flatten(-2), target["heatmaps"].flatten(-2)
    found, truth = (values.double().numpy() for values in points)
    expected = [
        abs(a - b)
        for n in range(3)
        for a, b, (i, j) in zip(
            pair_lengths(found[n], pairs),
            pair_lengths(truth[n], pairs),
            pairs,
            strict=True,
        )
        if visible[n, i] and visible[n, j]
    ]
    settings = BONE | {"weight": 0.3, "pairs": chosen, "measured": measured}
    value = build_loss(settings)(outputs, target, codec)["bone"]
    # The root's epsilon moves a length of 0.03 by less than 2e-5.
    assert float(value) == pytest.approx(0.3 * np.mean(expected), abs=1e-5)


@pytest.mark.parametrize("settings", [BONE, ON_MAPS])
def test_coincident_points_have_a_finite_gradient(settings):
    codec = build_codec("udp", SIZE)
    keypoints, visible = make_batch(2)
    keypoints[:, 1] = keypoints[:, 0]
    same = {"heatmaps": torch.rand(2, 1, 16, 12).repeat(1, 17, 1, 1)}
    total, gradients = value_and_gradients(
        build_loss(settings), codec, same, keypoints, visible
    )
    assert total > 0 and gradients["heatmaps"].isfinite().all()


@pytest.mark.parametrize("codec", ["regression", "simcc", "integral"])
def test_bone_loss_on_heatmaps_needs_heatmaps(codec):
    """Integral regression's maps are logits, its targets are shares."""
    codec = build_codec(codec, SIZE)
    with pytest.raises(ValueError, match="expected auxiliary.measured=coordinates"):
        build_loss(ON_MAPS).check(codec)
    build_loss(ON_MAPS).check(build_codec("cal", SIZE))


def test_balance_is_the_formula_and_its_gradients():
    balance = AutomaticBalance(["one", "two"])
    losses = {"one": torch.tensor(3.0, requires_grad=True), "two": torch.tensor(0.5)}
    values = {name: value.item() for name, value in balance(losses).items()}
    assert values == pytest.approx({"one": 1.5, "two": 0.25, "balance": 2 * np.log(2)})
    balance.c["one"].data.fill_(1.5)
    terms = balance(losses)
    sum(terms.values()).backward()
    assert terms["one"].item() == pytest.approx(3 / (2 * 1.5**2))
    assert terms["balance"].item() == pytest.approx(np.log(1 + 1.5**2) + np.log(2))
    assert losses["one"].grad.item() == pytest.approx(1 / (2 * 1.5**2))
    slope = -3 / 1.5**3 + 2 * 1.5 / (1 + 1.5**2)
    assert balance.c["one"].grad.item() == pytest.approx(slope)
    assert balance.c["two"].grad.item() == pytest.approx(-0.5 + 1)


def test_an_objective_adds_what_is_chosen():
    codec = build_codec("udp", SIZE)
    keypoints, visible = make_batch(2)
    target, outputs = codec.encode_batch(keypoints, visible), random_outputs(codec, 2)
    plain = Objective({"name": "mse"}, NONE, codec)(outputs, target)
    assert set(plain) == {"loss_heatmap"}
    both = Objective({"name": "mse"}, BONE | {"balance": "fixed"}, codec)
    found = both(outputs, target)
    assert set(found) == {"loss_heatmap", "loss_bone"}
    torch.testing.assert_close(found["loss_heatmap"], plain["loss_heatmap"])
    automatic = Objective({"name": "mse"}, BONE | {"balance": "automatic"}, codec)
    balanced = automatic(outputs, target)
    assert set(balanced) == {"loss_heatmap", "loss_bone", "loss_balance"}
    torch.testing.assert_close(balanced["loss_bone"], found["loss_bone"] / 2)
    alone = Objective({"name": "mse"}, NONE | {"balance": "automatic"}, codec)
    assert list(alone.balance.c) == ["heatmap"]


UNBOUNDED = {"rle": EVERY["rle"], "cal": EVERY["cal-flow"]}


@pytest.mark.parametrize("name", UNBOUNDED)
def test_a_log_density_is_never_balanced(name):
    """It has no lower bound at 0: its weight 1 / c^2 would grow without end."""
    loss, codec = UNBOUNDED[name]
    codec = build_codec(codec, SIZE)
    with pytest.raises(ValueError, match=f"loss '{name}' has no lower bound.*fixed"):
        Objective(loss, NONE | {"balance": "automatic"}, codec)
    Objective(loss, BONE | {"balance": "fixed"}, codec)


def test_masked_means():
    values = torch.tensor([[1.0, float("nan"), 4.0], [float("inf"), 7.0, 9.0]])
    weights = torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    assert masked_mean(values, weights) == 4
    assert masked_mean(values, 0 * weights) == 0


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"name": "x"}, "loss 'x': expected one of .*bone.*cal.*combined.*rle.*simcc"),
        ({"name": "coordinates", "norm": "l3"}, "norm 'l3': expected one of l1, l2"),
        (BONE | {"pairs": "some"}, "pairs 'some': expected all or skeleton"),
        (BONE | {"measured": "x"}, "measured 'x': expected coordinates or heatmaps"),
        (BONE | {"weight": -1}, "weight -1: expected 0 or more"),
        (CAL | {"weighting": "x"}, "weighting 'x': expected one of disc, gt, pred"),
        (CAL | {"weighting": "gt", "warmup": 2}, "warmup 2: expected a share"),
        (CAL | {"weighting": "gt", "mask_sigma": 0}, "mask_sigma 0.*positive"),
        (CAL | {"weighting": "gmm", "components": 0}, "components 0.*at least 1"),
    ],
)
def test_wrong_settings_are_named(settings, says):
    with pytest.raises(ValueError, match=says):
        build_loss(settings)


def test_an_unknown_balance_is_named():
    with pytest.raises(ValueError, match="balance 'x': expected fixed or automatic"):
        Objective({"name": "mse"}, NONE | {"balance": "x"}, build_codec("udp", SIZE))
