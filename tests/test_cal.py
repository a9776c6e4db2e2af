"""CAL's loss against plain loops, and the densities that it weights offsets with."""

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal

from plugins.codecs import build_codec
from plugins.losses.cal.errors import CAPACITY, CoarseErrors
from plugins.losses.cal.flow import EVERY, SAMPLE, SCALE, FlowDensity
from plugins.losses.cal.mixture import MixtureDensity
from plugins.losses.cal.window import normalise, spread_window, window_points
from plugins.losses.common.objective import Objective, build_loss
from tests.random_outputs import SIZE, make_batch, random_outputs

SETTINGS = {"name": "cal", "offset_weight": 0.7, "warmup": 0.0, "mask_sigma": 1.3}
SETTINGS |= {"components": 1}
WEIGHTINGS = ("disc", "gt", "pred", "gmm", "flow")
WIDTH, HEIGHT = 12, 16


def make_loss(weighting: str, **settings):
    torch.manual_seed(0)
    return build_loss(SETTINGS | {"weighting": weighting} | settings)


def make_case(persons: int = 3):
    """Some keypoints hidden, one at the corner; prediction peaks near the target's."""
    codec = build_codec("cal", SIZE, sigma=0.7, unit=1.5)
    keypoints, visible = make_batch(persons)
    visible[0, 3:6], keypoints[1, 2] = 0, torch.tensor([0.4, 62.5])
    target = codec.encode_batch(keypoints, visible)
    outputs = random_outputs(codec, persons)
    shifted = target["heatmaps"].roll((1, -1), (-2, -1))
    outputs["heatmaps"] = 0.1 * outputs["heatmaps"] + shifted + 0.9 * target["heatmaps"]
    return codec, keypoints, visible, outputs, target


def scaled_to_one(density: np.ndarray) -> np.ndarray:
    return (density - density.min()) / (density.max() - density.min())


def coarse_errors(predicted, truth, visible) -> np.ndarray:
    """``argmax(P) - argmax(Y)`` of all visible joints, x then y, in cells."""
    errors = []
    for n, k in np.argwhere(visible > 0):
        found, true = (np.unravel_index(m[n, k].argmax(), m[n, k].shape)
                       for m in (predicted, truth))  # fmt: skip
        errors.append((found[1] - true[1], found[0] - true[0]))
    return np.array(errors, float)


def gaussian_window(errors: np.ndarray) -> np.ndarray:
    """Density of one Gaussian on 7x7 cells, up to a factor."""
    mean = errors.mean(0)
    inverse = np.linalg.inv(np.cov(errors.T, bias=True))
    density = np.zeros((7, 7))
    for y in range(-3, 4):
        for x in range(-3, 4):
            d = np.array([x, y]) - mean
            density[y + 3, x + 3] = np.exp(-d @ inverse @ d / 2)
    return density


def flow_window(flow) -> np.ndarray:
    density = np.zeros((7, 7))
    for y in range(-3, 4):
        for x in range(-3, 4):
            point = torch.tensor([[x, y]]) / SCALE
            density[y + 3, x + 3] = flow.log_prob(point).exp().item()
    return density


def reference(weighting, codec, keypoints, visible, outputs, window=None):
    """The loss of CAL (arXiv 2109.09090) cell by cell: both terms."""
    predicted, offsets = outputs["heatmaps"].numpy(), outputs["offsets"].numpy()
    centres = keypoints.numpy() * [(WIDTH - 1) / 47, (HEIGHT - 1) / 63]
    squares, differences = [], []
    for n, k in np.ndindex(*visible.shape):
        v, mu = float(visible[n, k] > 0), centres[n, k]
        nearest = np.floor(mu + 0.5)
        disc, trust = np.zeros((2, HEIGHT, WIDTH))
        for y, x in np.ndindex(HEIGHT, WIDTH):
            h = (mu[0] - x) ** 2 + (mu[1] - y) ** 2
            disc[y, x] = h <= codec.radius**2
            heat = np.exp(-h / (2 * codec.sigma**2))
            squares.append((v * predicted[n, k, y, x] - v * heat) ** 2)
            step = np.array([x, y]) - nearest
            if weighting == "disc":
                trust[y, x] = disc[y, x]
            if weighting == "gt":
                trust[y, x] = (
                    np.exp(-h / (2 * SETTINGS["mask_sigma"] ** 2)) * disc[y, x]
                )
            if window is not None and (abs(step) <= 3).all():
                trust[y, x] = window[int(step[1]) + 3, int(step[0]) + 3] * disc[y, x]
        if weighting == "pred":
            trust = scaled_to_one(np.maximum(predicted[n, k], 0) * disc)
        for axis, (y, x) in [(a, c) for a in (0, 1) for c in np.ndindex(HEIGHT, WIDTH)]:
            true = (mu[axis] - (x, y)[axis]) / codec.unit * disc[y, x]
            differences.append(
                abs(v * trust[y, x] * (offsets[n, k, axis, y, x] - true))
            )
    return 0.5 * np.mean(squares), 0.7 * np.mean(differences)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_it_is_the_loop(weighting):
    codec, keypoints, visible, outputs, target = make_case()
    loss, window = make_loss(weighting), None
    if weighting == "gmm":
        maps = outputs["heatmaps"].numpy(), target["heatmaps"].numpy()
        window = scaled_to_one(gaussian_window(coarse_errors(*maps, visible.numpy())))
    if weighting == "flow":
        for parameter in loss.density.flow.parameters():
            parameter.data = 0.1 * torch.randn(parameter.shape)
        window = scaled_to_one(flow_window(loss.density.flow))
    expected = reference(weighting, codec, keypoints, visible, outputs, window)
    found = loss(outputs, target, codec)
    assert float(found["heatmap"]) == pytest.approx(expected[0], rel=1e-5)
    assert float(found["offset"]) == pytest.approx(expected[1], rel=1e-4)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_no_gradient_goes_through_the_weights(weighting):
    """Else the network would lower the loss by distrusting its own prediction."""
    codec, _, _, outputs, target = make_case()
    loss = make_loss(weighting)
    for values in outputs.values():
        values.requires_grad_()
    terms = loss(outputs, target, codec)
    inputs, settings = (
        list(outputs.values()),
        dict(allow_unused=True, retain_graph=True),
    )
    to_map, to_offset = torch.autograd.grad(terms["offset"], inputs, **settings)
    assert to_map is None and to_offset.abs().max() > 0
    if weighting == "flow":
        assert torch.autograd.grad(terms["flow"], inputs, **settings) == (None, None)
        weight = loss.density.flow.t[0][-1].weight
        assert torch.autograd.grad(terms["flow"], weight, **settings)[0].abs().max() > 0
        others = terms["heatmap"] + terms["offset"]
        assert torch.autograd.grad(others, weight, **settings) == (None,)


@pytest.mark.parametrize("weighting", ["pred", "gmm", "flow"])
def test_the_warm_up_is_disc(weighting):
    """And the density is already learnt in it."""
    codec, _, _, outputs, target = make_case()
    settings = SETTINGS | {"weighting": weighting, "warmup": 0.3}
    none = {"name": "none", "balance": "fixed"}
    objective = Objective(settings, none, codec)
    disc = make_loss("disc")(outputs, target, codec)["offset"]
    for progress, same in ((0.0, True), (0.29, True), (0.3, False), (1.0, False)):
        objective.start_epoch(progress)
        found = objective(outputs, target)["loss_offset"]
        assert torch.equal(found, disc) == same
    density = objective.losses[0].density
    if density is not None:
        assert (density.window != 1).any()


def test_nothing_is_learnt_in_evaluation():
    codec, _, _, outputs, target = make_case()
    for weighting in ("gmm", "flow"):
        loss = make_loss(weighting).eval()
        before = {name: value.clone() for name, value in loss.state_dict().items()}
        assert set(loss(outputs, target, codec)) == {"heatmap", "offset"}
        after = loss.state_dict()
        assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize("weighting", ["gmm", "flow"])
@pytest.mark.parametrize("batches", [1, 3, EVERY + 2])
def test_a_saved_state_gives_the_same_next_losses(weighting, batches):
    codec, _, _, outputs, target = make_case()
    cases = [outputs | {"heatmaps": outputs["heatmaps"].roll(i, -1)} for i in range(20)]
    loss, other = (make_loss(weighting, components=3) for _ in range(2))
    for case in cases[:batches]:
        loss(case, target, codec)
    other.load_state_dict(loss.state_dict())
    for case in cases[batches:]:
        values = []
        for module in (loss, other):
            torch.manual_seed(1)
            values.append(module(case, target, codec))
        assert values[0].keys() == values[1].keys()
        assert all(torch.equal(values[0][name], values[1][name]) for name in values[0])


def test_errors_are_kept_in_a_ring():
    torch.manual_seed(0)
    errors, kept = CoarseErrors(), []
    assert errors.latest()[1].sum() == 0
    for persons in (100, 60, 70, 30):
        values, weights = torch.randn(persons, 17, 2), torch.rand(persons, 17)
        errors.add(values, weights)
        kept += zip(
            values.flatten(0, 1).tolist(), weights.flatten().tolist(), strict=True
        )
        expected = sorted(kept[-CAPACITY:])
        found = zip(*(part.tolist() for part in errors.latest()), strict=True)
        found = sorted(pair for pair in found if pair[1] > 0)
        assert found == expected
    restored = CoarseErrors()
    restored.load_state_dict(errors.state_dict())
    for ring in (errors, restored):
        ring.add(torch.ones(3, 5, 2), torch.ones(3, 5))
    assert torch.equal(errors.values, restored.values)


def test_more_errors_than_the_ring_holds():
    errors = CoarseErrors()
    values = torch.arange(2.0 * (CAPACITY + 50)).view(-1, 1, 2)
    errors.add(values, torch.ones(CAPACITY + 50, 1))
    assert set(errors.latest()[0][:, 0].tolist()) == set(values[50:, 0, 0].tolist())


def mixture_sample(count: int) -> torch.Tensor:
    """A core of small errors, and a wide, shifted and correlated tail (30 %)."""
    torch.manual_seed(0)
    core = MultivariateNormal(torch.tensor([0.2, -0.1]), 0.25 * torch.eye(2))
    covariance = torch.tensor([[9.0, 4.0], [4.0, 6.0]])
    tail = MultivariateNormal(torch.tensor([-1.0, 2.0]), covariance)
    in_tail = torch.rand(count, 1) < 0.3
    return torch.where(in_tail, tail.sample((count,)), core.sample((count,)))


def test_one_component_has_the_weighted_moments():
    errors, weights = (
        mixture_sample(500),
        torch.rand(500, generator=torch.manual_seed(1)),
    )
    density = MixtureDensity(1)
    assert density.learn(errors, weights) == {}
    sample, shares = errors.double().numpy(), weights.double().numpy()
    covariance = np.cov(sample.T, aweights=shares, bias=True)
    mean = np.average(sample, axis=0, weights=shares)
    np.testing.assert_allclose(density.means[0], mean, atol=1e-5)
    np.testing.assert_allclose(density.covariances[0], covariance, rtol=1e-4, atol=1e-5)
    assert density.shares.tolist() == [1.0]
    points = window_points(errors)
    normal = MultivariateNormal(density.means[0], density.covariances[0])
    found = density.log_density(points)
    torch.testing.assert_close(found, normal.log_prob(points), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(density.window, normalise(found))


def test_a_known_mixture_is_recovered():
    """Bounds: four standard errors of 12,000 samples."""
    errors = mixture_sample(12000)
    density = MixtureDensity(2)
    for _ in range(60):
        density.learn(errors, torch.ones(len(errors)))
    traces = density.covariances.diagonal(dim1=-2, dim2=-1).sum(-1)
    core, tail = traces.argsort().tolist()
    assert density.shares[tail].item() == pytest.approx(0.3, abs=0.02)
    np.testing.assert_allclose(density.means[core], [0.2, -0.1], atol=0.025)
    np.testing.assert_allclose(density.means[tail], [-1, 2], atol=0.2)
    np.testing.assert_allclose(density.covariances[core], 0.25 * np.eye(2), atol=0.016)
    np.testing.assert_allclose(density.covariances[tail], [[9, 4], [4, 6]], atol=0.85)


@pytest.mark.parametrize("components", [2, 3])
def test_likelihood_never_falls(components):
    errors = mixture_sample(2000)
    density, values = MixtureDensity(components), []
    for _ in range(40):
        values.append(density.log_density(errors).double().mean().item())
        density.learn(errors, torch.ones(len(errors)))
    assert min(np.diff(values)) > -1e-6 and values[-1] > values[0] + 0.1


def test_a_step_is_that_of_a_loop():
    """Responsibilities, then weighted moments of each component."""
    errors, weights = mixture_sample(60), torch.rand(60, generator=torch.manual_seed(1))
    density = MixtureDensity(3)
    density._step(errors, weights)
    start = [(0.0, 4.0**c) for c in range(3)]
    parts = np.array(
        [
            [
                np.exp(-float(e.square().sum()) / (2 * v)) / (2 * np.pi * v)
                for _, v in start
            ]
            for e in errors.double()
        ]
    )
    parts = parts / parts.sum(1, keepdims=True) * weights.double().numpy()[:, None]
    shares = parts.sum(0) / parts.sum()
    np.testing.assert_allclose(density.shares, shares, rtol=1e-4)
    for c in range(3):
        sample = errors.double().numpy()
        mean = np.average(sample, axis=0, weights=parts[:, c])
        wide = np.cov(sample.T, aweights=parts[:, c], bias=True)
        np.testing.assert_allclose(density.means[c], mean, atol=1e-4)
        np.testing.assert_allclose(density.covariances[c], wide, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("components", [1, 3])
def test_degenerate_errors_leave_a_density(components):
    """None at all, all in one place, and far outliers."""
    density, ones = MixtureDensity(components), torch.ones(100)
    before = {name: value.clone() for name, value in density.state_dict().items()}
    density.learn(torch.randn(100, 2), torch.zeros(100))
    for name in ("shares", "means", "covariances"):
        assert torch.equal(density.state_dict()[name], before[name])
    far = torch.zeros(100, 2)
    far[0] = 60
    for errors in (torch.zeros(100, 2), far, torch.zeros(100, 2)):
        for _ in range(20):
            density.learn(errors, ones)
        assert all(value.isfinite().all() for value in density.state_dict().values())
        assert density.window.max() == 1
        assert torch.linalg.eigvalsh(density.covariances).min() >= 1 / 12 - 1e-4
    assert density.window.argmax() == 24


def correlated_errors(count: int) -> tuple[torch.Tensor, MultivariateNormal]:
    """Whole cells of a Gaussian, and the Gaussian of errors spread over their cell."""
    torch.manual_seed(0)
    mean = torch.tensor([0.5, -0.5])
    covariance = torch.tensor([[3.0, 1.8], [1.8, 2.0]])
    errors = MultivariateNormal(mean, covariance).sample((count,)).round()
    return errors, MultivariateNormal(mean, covariance + torch.eye(2) / 6)


@pytest.fixture(scope="module")
def learnt_flow():
    errors, truth = correlated_errors(CAPACITY)
    torch.manual_seed(0)
    density, weights = FlowDensity(), torch.ones(CAPACITY)
    optimizer = torch.optim.Adam(density.parameters(), lr=0.003)
    for step in range(EVERY * 400):
        value = density.learn(errors, weights)["flow"]
        if step % EVERY:
            assert value == 0 and not value.requires_grad
            continue
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return density, truth


def test_the_flow_learns_a_correlated_gaussian(learnt_flow):
    density, truth = learnt_flow
    points = window_points(torch.zeros(1))
    expected = normalise(truth.log_prob(points))
    circular = normalise(-points.square().sum(-1) / (2 * 2.5))
    assert (density.window - expected).abs().max() < 0.1
    assert (circular - expected).abs().max() > 0.3


def test_the_flows_density_integrates_to_one(learnt_flow):
    density, _ = learnt_flow
    steps = torch.arange(-12, 12, 0.1)
    points = torch.cartesian_prod(steps, steps)
    with torch.no_grad():
        total = density.flow.log_prob(points).exp().sum() * 0.1**2
    assert float(total) == pytest.approx(1, abs=0.005)


def test_the_flow_draws_labelled_errors_evenly(monkeypatch):
    """A sample at a time; weight 0 is never drawn while there are enough."""
    torch.manual_seed(0)
    density, drawn = FlowDensity(), []
    log_prob = density.flow.log_prob

    def watch(points):
        drawn.append(points.detach() * SCALE)
        return log_prob(points)

    monkeypatch.setattr(density.flow, "log_prob", watch)
    errors = 4 * torch.arange(512.0)[:, None].expand(-1, 2)
    weights = (torch.arange(512) % 2).float()
    for _ in range(EVERY * 60):
        density.learn(errors, weights)
    found = torch.stack([points for points in drawn if len(points) == SAMPLE])
    rows = (found / 4).round()
    assert len(rows) == 60 and 0.49 < (found - 4 * rows).abs().max() <= 0.5
    counts = rows[..., 0].long().flatten().bincount(minlength=512)
    assert counts[0::2].sum() == 0
    # Each of 256 is drawn with probability 1 / 2, sixty times.
    assert counts[1::2].float().std().item() == pytest.approx(15**0.5, abs=0.7)


def test_the_window_is_spread_around_each_cell():
    window = torch.rand(7, 7, generator=torch.manual_seed(0))
    cells = torch.tensor(
        [[[5.0, 9.0], [0.0, 0.0], [11.0, 15.0]], [[2, 14], [11, 0], [6, 3]]]
    )
    found = spread_window(window, cells, (WIDTH, HEIGHT))
    assert found.shape == (2, 3, HEIGHT, WIDTH)
    for n, k, y, x in np.ndindex(2, 3, HEIGHT, WIDTH):
        column, row = x - int(cells[n, k, 0]) + 3, y - int(cells[n, k, 1]) + 3
        inside = 0 <= column < 7 and 0 <= row < 7
        assert found[n, k, y, x] == (window[row, column] if inside else 0)


def test_weights_span_zero_to_one():
    found = normalise(torch.randn(49, generator=torch.manual_seed(0)) - 200)
    assert (found.min(), found.max()) == (0, 1)
    x, y = window_points(torch.zeros(1)).view(7, 7, 2).unbind(-1)
    assert x[0].tolist() == y[:, 0].tolist() == list(range(-3, 4))
