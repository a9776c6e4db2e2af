"""Peaks of heatmaps and the cells around them; no loop over persons or joints."""

import cv2
import torch
from torch import Tensor


def find_peaks(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Cell ``(N, K, 2)`` (x, y; long) and value ``(N, K)`` of each map's maximum.

    Where the maximum is not a positive finite number, or opposite corners of the map
    reach it as flat maps do, the value is 0: such a map says nothing.
    """
    width = heatmaps.shape[-1]
    flat = heatmaps.flatten(-2)
    index = argmax(flat)
    value = flat.gather(-1, index[..., None])[..., 0]
    cells = torch.stack((index % width, index // width), dim=-1)
    known = torch.isfinite(value) & (value > 0)
    known = known & (torch.minimum(flat[..., 0], flat[..., -1]) < value * (1 - 1e-6))
    return cells, torch.where(known, value, 0.0)


def argmax(flat: Tensor) -> Tensor:
    """Index of the largest value along the last axis, of the first NaN if there is one.

    On a CPU by numpy, whose pass takes a sixth to a third of the time of torch 2.13's
    (benchmarks/decode.py).
    """
    if flat.device.type != "cpu" or flat.dtype not in (torch.float32, torch.float64):
        return flat.argmax(-1)
    return torch.as_tensor(flat.detach().numpy().argmax(-1))


def gather_cells(heatmaps: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Values ``(N, K, R, C)`` at rows ``y (N, K, R)`` and columns ``x (N, K, C)``."""
    index = y[..., :, None] * heatmaps.shape[-1] + x[..., None, :]
    flat = heatmaps.flatten(-2).gather(-1, index.flatten(-2))
    return flat.view(index.shape)


def gather_patches(
    heatmaps: Tensor, peaks: Tensor, radius: int
) -> tuple[Tensor, Tensor]:
    """Values ``(P, P, M)`` around the M peaks of a batch, ``P = 2 radius + 1``.

    Peaks come last, so that every operation runs along them and not along the few cells
    of a patch. Cells outside the map hold the nearest cell of the map. Also by how many
    cells each column and each row of the patch is outside, ``(2, P, M)``: negative
    before the first one, positive beyond the last one.

    Args:
        heatmaps: ``(N, K, h, w)``.
        peaks: ``(N, K, 2)``; M is N times K.
    """
    height, width = heatmaps.shape[-2:]
    steps = torch.arange(-radius, radius + 1, device=heatmaps.device)[:, None]
    x = peaks[..., 0].flatten() + steps
    y = peaks[..., 1].flatten() + steps
    border_x, border_y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    start = torch.arange(0, heatmaps.numel(), height * width, device=x.device)
    index = (border_y * width + start)[:, None] + border_x
    # A third of the time of take, and a quarter of that of gather.
    values = heatmaps.flatten().index_select(0, index.flatten()).view(index.shape)
    return values, torch.stack((x - border_x, y - border_y))


def continued_patches(
    heatmaps: Tensor, peaks: Tensor, radius: int, sigma: float, floor: float
) -> Tensor:
    """Values ``(P, P, M)`` of the maps around their peaks; see ``gather_patches``.

    Inside the map they are as they are, negative ones too. Cells outside continue the
    Gaussian from the nearest border cell, by what its fall along the peak's own row and
    column says: a Gaussian falls alike along all of them, and there it is highest above
    the noise.

    Args:
        heatmaps: ``(N, K, h, w)``.
        peaks: ``(N, K, 2)`` cells of the maxima.
        radius: cells on each side of the peak.
        sigma: of the target Gaussian, in cells.
        floor: smallest value whose logarithm is taken.
    """
    values, outside = gather_patches(heatmaps, peaks, radius)
    lines = torch.stack((values[radius], values[:, radius]))
    falls = _continue_gaussian(lines.clamp_min(floor).log(), outside, sigma).exp_()
    return values * falls[0] * falls[1][:, None]


def _continue_gaussian(logs: Tensor, outside: Tensor, sigma: float) -> Tensor:
    """By how much a Gaussian's logarithm falls from the map's border to each cell.

    With the peak at 0, b the border cell, i its inner neighbour and s the side (1 or
    -1, i = b - s), ``L(b) - L(i) = ((i - c)^2 - (b - c)^2) / 2 sigma^2`` gives the
    centre ``c = (b + i) / 2 + s sigma^2 (L(b) - L(i))``, and a cell x that is
    ``o = x - b`` outside has ``L(x) = L(b) + o (2 c - b - x) / 2 sigma^2``. The centre
    is kept within one cell of the peak, since the refined peak must be. Inside the map
    o and s are 0, and so is the fall.

    Args:
        logs: ``(2, P, M)`` through the peak along x and y, the border's outside.
        outside: ``(2, P, M)``, by how many cells.
    """
    radius = logs.shape[1] // 2
    side = outside.sign()
    place = torch.arange(-radius, radius + 1, device=logs.device)[:, None]
    border = place - outside
    inner = logs.gather(1, border - side + radius)
    centre = (logs - inner) * (side * sigma**2) + (border - side / 2)
    middle = (border + place) / 2
    return centre.clamp_(-1, 1).sub_(middle).mul_(outside / sigma**2)


def blur_matrix(kernel: int, reach: int) -> Tensor:
    """``(R * R, P * P)``: OpenCV's Gaussian of ``kernel`` taps on a patch.

    ``R = 2 reach + 1`` cells of the blurred patch, whose taps all lie in the patch of
    ``P = R + kernel - 1`` cells.
    """
    taps = cv2.getGaussianKernel(kernel, 0)[:, 0]
    side = 2 * reach + 1
    axis = torch.zeros(side, side + kernel - 1, dtype=torch.float64)
    for cell in range(side):
        axis[cell, cell : cell + kernel] = torch.as_tensor(taps)
    return torch.kron(axis, axis)


def newton_step(gradient: Tensor, hessian: Tensor) -> Tensor:
    """``-H^-1 g`` in cells ``(2, ...)``, from g ``(2, ...)`` and H ``(3, ...)``.

    The Hessian is xx, xy, yy.

    DARK (arXiv 1910.06278) equation 8, with two conditions that it leaves out: the step
    is zero unless the Hessian is negative definite, since only then the point it leads
    to is a maximum; and it is never longer than one cell, since the maximum of a
    Gaussian lies within half a cell of the largest sample along each axis.
    """
    xx, xy, yy = hessian
    gx, gy = gradient
    determinant = xx * yy - xy * xy
    maximum = (xx < 0) & (yy < 0) & (determinant > 0)
    inverse = torch.where(maximum, 1 / determinant, 0.0)
    step = torch.stack((xy * gy - yy * gx, xy * gx - xx * gy)) * inverse
    step = step.nan_to_num(0.0, 0.0, 0.0)
    return step / torch.hypot(*step).clamp_min(1.0)
