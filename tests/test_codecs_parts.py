"""What codecs are made of: couplings to the size, peaks, Newton steps."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.codecs import build_codec
from plugins.codecs.common.couplings import (
    derive_bin_sigma,
    derive_fit_radius,
    derive_kernel,
    derive_offset_sigma,
    derive_radius,
    derive_sigma,
)
from plugins.codecs.common.peaks import find_peaks, newton_step
from plugins.sizes import heatmap_size, parse_size

SIZES = ("32x24", "64x48", "96x72", "128x96", "192x144", "256x192", "384x288")
CELLS = [heatmap_size(parse_size(size)) for size in SIZES]


@pytest.mark.parametrize(
    ("size", "sigma", "kernel", "radius", "offset_sigma", "disc"),
    [("32x24", 1, 3, 2, 0.5, 1.5), ("64x48", 1, 3, 2, 0.5, 1.5),
     ("128x96", 1, 3, 2, 1, 1.75), ("192x144", 1.5, 7, 3, 1.5, 2.625),
     ("256x192", 2, 11, 4, 2, 3.5), ("384x288", 3, 17, 6, 3, 5.25)],
)  # fmt: skip
def test_settings_follow_from_the_size(size, sigma, kernel, radius, offset_sigma, disc):
    """MMPose's pairs of sigma and kernel, the 9x9 patch, CAL's sigmas, UDP's disc."""
    size = parse_size(size)
    for name in ("argmax", "msra", "dark", "udp", "quadfit", "integral"):
        assert build_codec(name, size).sigma == sigma
    for name in ("dark", "udp"):
        assert build_codec(name, size).kernel == kernel
    assert build_codec("quadfit", size).radius == radius
    cal = build_codec("cal", size)
    assert (cal.sigma, cal.radius, cal.unit) == (offset_sigma, 4, 1)
    offset = build_codec("udp_offset", size)
    assert (offset.radius, offset.unit, offset.kernel) == (disc, disc, None)


@pytest.mark.parametrize(
    ("size", "sigmas"),
    [("256x192", (4.9, 5.66)), ("384x288", (6.0, 6.93)), ("64x48", (2.45, 2.83))],
)
def test_simcc_s_sigmas_are_the_published_ones(size, sigmas):
    codec = build_codec("simcc", parse_size(size))
    assert codec.sigmas == pytest.approx(sigmas, abs=0.005)
    width, height = codec.input_size
    assert codec.bins == (2 * width - 1, 2 * height - 1)
    assert derive_bin_sigma(192) == pytest.approx(math.sqrt(24))


@pytest.mark.parametrize(
    "values",
    [[derive_sigma(cells) for cells in CELLS],
     [derive_offset_sigma(cells) for cells in CELLS],
     [derive_radius(cells) for cells in CELLS],
     [derive_kernel(sigma) for sigma in np.linspace(0.1, 5, 50)],
     [derive_fit_radius(sigma) for sigma in np.linspace(0.1, 5, 50)],
     [derive_bin_sigma(pixels) for pixels in range(8, 400, 8)]],
)  # fmt: skip
def test_couplings_do_not_fall_with_the_size(values):
    assert all(a <= b for a, b in itertools.pairwise(values))
    assert values[0] < values[-1]


def test_settings_overrule_couplings():
    assert build_codec("udp", (48, 64), sigma=2, kernel=5).kernel == 5
    assert build_codec("quadfit", (48, 64), sigma=2).radius == 4
    codec = build_codec("udp_offset", (48, 64), radius_factor=0.0546875, kernel=11)
    assert (codec.radius, codec.unit, codec.kernel) == (0.875, 0.875, 11)
    assert build_codec("simcc", (48, 64), split=3, sigma=6).sigmas == (6, 6)


@given(st.floats(0.05, 20))
def test_the_kernel_is_the_widest_that_blurs_no_more_than_the_target(sigma):
    def implied(taps: int) -> float:
        return 0.3 * ((taps - 1) / 2 - 1) + 0.8

    kernel = derive_kernel(sigma)
    assert kernel % 2 == 1
    assert kernel == 1 or implied(kernel) <= sigma + 1e-6
    assert implied(kernel + 2) > sigma - 1e-6


def test_peaks_are_cells_and_values_of_the_maxima():
    heatmaps = torch.rand(2, 3, 16, 12)
    heatmaps[1, 2] = 0.4
    heatmaps[0, 0, 15, 3] = 7
    heatmaps[0, 1, 0, 0] = 5
    heatmaps[0, 2, 15, 11] = 6
    cells, values = find_peaks(heatmaps)
    assert cells[0].tolist() == [[3, 15], [0, 0], [11, 15]]
    assert values[0].tolist() == [7, 5, 6]
    assert values[1, 2] == 0
    assert (values[1, :2] == heatmaps[1, :2].amax((-2, -1))).all()


numbers = st.floats(width=32, allow_nan=True, allow_infinity=True)
small = st.floats(-5, 5, width=32)


@settings(max_examples=300, deadline=None)
@given(st.tuples(numbers, numbers), st.tuples(numbers, numbers, numbers))
def test_newton_steps_are_finite_and_short_for_any_numbers(gradient, hessian):
    step = newton_step(torch.tensor(gradient), torch.tensor(hessian))
    assert step.isfinite().all()
    assert step.norm() <= 1 + 1e-5
    yy, xx, xy = (np.float64(value) for value in hessian)
    with np.errstate(all="ignore"):
        if not (xx < 0 and yy < 0 and xx * yy > xy * xy):
            assert (step == 0).all()


@settings(max_examples=300, deadline=None)
@given(
    st.tuples(small, small), st.floats(-3.1, 3.1), st.floats(0.1, 5), st.floats(1, 9)
)
def test_newton_steps_lead_to_the_maximum_of_a_quadratic(gradient, turn, flat, ratio):
    """Any negative definite Hessian, by its angle and its two curvatures."""
    axes = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    hessian = -axes @ np.diag([flat, flat * ratio]) @ axes.T
    exact = -np.linalg.solve(hessian, gradient)
    packed = torch.tensor([hessian[1, 1], hessian[0, 0], hessian[0, 1]])
    step = newton_step(torch.tensor(gradient, dtype=torch.float64), packed).numpy()
    expected = exact / max(1.0, np.linalg.norm(exact))
    np.testing.assert_allclose(step, expected, atol=1e-6)
