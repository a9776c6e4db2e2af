"""What must follow from the heatmap's size instead of being copied between sizes.

At 256x192 each rule gives the published value, which released configs copy to sizes
where it stands for something else.
"""

import math

REFERENCE_HEIGHT = 64
REFERENCE_SIGMA = 2.0
MINIMAL_SIGMA = 1.0
MINIMAL_OFFSET_SIGMA = 0.5
UDP_RADIUS = 0.0546875
"""UDP's disc radius relative to the longer side of the heatmap (MMPose)."""
MINIMAL_RADIUS = 1.5


def derive_sigma(
    heatmap_size: tuple[int, int], minimal: float = MINIMAL_SIGMA
) -> float:
    """Sigma in cells of a target Gaussian on a ``(w, h)`` heatmap.

    HRNet's 2 cells on 64 rows, in proportion to the height (DarkPose uses 1 on 32
    rows), but never below ``minimal``. Where the decoder reads the sub-cell position
    from the heatmap that is 1: with less, a cell beside the peak holds little of the
    Gaussian (exp(-2) at 0.5), and a network's noise should hide where between two
    cells it stands. That is an argument, not a measurement: grid codec_couplings
    varies it.
    """
    return max(minimal, REFERENCE_SIGMA * heatmap_size[1] / REFERENCE_HEIGHT)


def derive_offset_sigma(heatmap_size: tuple[int, int]) -> float:
    """Sigma in cells where offsets give the sub-cell position.

    The same proportion gives CAL's 0.5 at 64x48 (W48), 1 at 128x96 and 2 at 256x192;
    the floor is its 0.5, since the peak of a Gaussian of 0.25 cells between four cells
    is exp(-4).
    """
    return derive_sigma(heatmap_size, MINIMAL_OFFSET_SIGMA)


def derive_kernel(sigma: float) -> int:
    """Odd blur kernel whose implied Gaussian is at most as wide as the target's.

    OpenCV gives a kernel of k taps the sigma ``0.3 * ((k - 1) / 2 - 1) + 0.8``; solved
    for k it gives MMPose's own pairs: sigma 1 -> 3, 1.5 -> 7, 2 -> 11, 3 -> 17.
    """
    taps = int(2 * ((sigma - 0.8) / 0.3 + 1) + 1 + 1e-9)
    return max(1, taps - 1 + taps % 2)


def derive_radius(heatmap_size: tuple[int, int]) -> float:
    """Radius in cells of UDP's disc of supervised offsets.

    In proportion to the heatmap, as UDP's author asks (UDP-Pose issue 31), but never
    below 1.5: that keeps all eight neighbours of the keypoint's cell in the disc or
    near its rim, so that an argmax beside the true cell still finds an offset.
    """
    return max(MINIMAL_RADIUS, UDP_RADIUS * max(heatmap_size))


def derive_fit_radius(sigma: float) -> int:
    """Cells on each side of the peak that a quadratic is fitted to: two sigmas.

    At 256x192 that is the 9x9 patch which equals DARK on a trained network; beyond two
    sigmas the squared heatmap, which weights the fit, is below 2 %. At least two, so
    that a patch clipped at a border still has three cells along each axis.
    """
    return max(2, round(2 * sigma))


def derive_bin_sigma(pixels: int) -> float:
    """Sigma in bins of SimCC's target on a side of so many input pixels.

    SimCC's published 4.9, 5.66 and 6.93 for 192, 256 and 384 pixels are
    ``sqrt(pixels / 8)`` (arXiv 2107.03332 and MMPose's configs).
    """
    return math.sqrt(pixels / 8)
