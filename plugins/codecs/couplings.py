"""What must follow from the heatmap's size instead of being copied between sizes."""

REFERENCE_HEIGHT = 64
REFERENCE_SIGMA = 2.0
MINIMAL_SIGMA = 1.0


def derive_sigma(heatmap_size: tuple[int, int]) -> float:
    """Sigma in cells of a target Gaussian on a ``(w, h)`` heatmap.

    HRNet's 2 cells on 64 rows, in proportion to the height (DarkPose uses 1 on 32
    rows), but never below 1: with less, a cell beside the peak holds little of the
    Gaussian (exp(-2) at 0.5), and a network's noise should hide where between two
    cells it stands. That is an argument, not a measurement: smaller sigmas, which CAL
    uses at 64x48, have not been trained here.
    """
    height = heatmap_size[1]
    return max(MINIMAL_SIGMA, REFERENCE_SIGMA * height / REFERENCE_HEIGHT)


def derive_kernel(sigma: float) -> int:
    """Odd blur kernel whose implied Gaussian is at most as wide as the target's.

    OpenCV gives a kernel of k taps the sigma ``0.3 * ((k - 1) / 2 - 1) + 0.8``; solved
    for k it gives MMPose's own pairs: sigma 1 -> 3, 1.5 -> 7, 2 -> 11, 3 -> 17.
    """
    taps = int(2 * ((sigma - 0.8) / 0.3 + 1) + 1 + 1e-9)
    return max(1, taps - 1 + taps % 2)
