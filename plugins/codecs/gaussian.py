"""Batched pieces of the Gaussian heatmap codecs; no loop over persons or joints."""

import cv2
import torch
from torch import Tensor


def draw_gaussians(
    centres: Tensor,
    heatmap_size: tuple[int, int],
    sigma: float,
    patch: tuple[Tensor, float] | None = None,
) -> Tensor:
    """Heatmaps ``exp(-|p - centre|^2 / 2 sigma^2)``, as products of two 1-D Gaussians.

    Args:
        centres: ``(N, K, 2)`` in heatmap cells.
        heatmap_size: ``(w, h)`` in cells.
        sigma: in cells.
        patch: ``(cells (N, K, 2), radius)``: zero outside this square patch.

    Returns:
        ``(N, K, h, w)``.
    """
    profiles = []
    for axis, length in enumerate(heatmap_size):
        cells = torch.arange(length, dtype=centres.dtype, device=centres.device)
        distance = cells - centres[..., axis, None]
        profile = torch.exp(-distance.square() / (2 * sigma**2))
        if patch is not None:
            inside = (cells - patch[0][..., axis, None]).abs() <= patch[1]
            profile = profile * inside
        profiles.append(profile)
    along_x, along_y = profiles
    return along_y[..., :, None] * along_x[..., None, :]


def find_peaks(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Cell ``(N, K, 2)`` (x, y; long) and value ``(N, K)`` of each map's maximum.

    Where the maximum is not a positive finite number, the value is 0: such a map says
    nothing about the keypoint.
    """
    width = heatmaps.shape[-1]
    value, index = heatmaps.flatten(-2).max(dim=-1)
    cells = torch.stack((index % width, index // width), dim=-1)
    known = torch.isfinite(value) & (value > 0)
    return cells, torch.where(known, value, torch.zeros_like(value))


def gather_cells(heatmaps: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Values ``(N, K, R, C)`` at rows ``y (N, K, R)`` and columns ``x (N, K, C)``."""
    index = y[..., :, None] * heatmaps.shape[-1] + x[..., None, :]
    flat = heatmaps.flatten(-2).gather(-1, index.flatten(-2))
    return flat.view(index.shape)


def log_patches(
    heatmaps: Tensor, peaks: Tensor, radius: int, sigma: float, floor: float
) -> Tensor:
    """Logarithms ``(N, K, 2r+1, 2r+1)`` of the maps around their peaks.

    Cells outside the map continue the Gaussian: from the two outermost cells of each
    row or column follows the centre of the Gaussian with this ``sigma`` that passes
    through them; that centre is kept within one cell of the peak, since the refined
    peak must be.

    Args:
        heatmaps: ``(N, K, h, w)``.
        peaks: ``(N, K, 2)`` cells of the maxima.
        radius: cells on each side of the peak.
        sigma: of the target Gaussian, in cells.
        floor: smallest value whose logarithm is taken.
    """
    height, width = heatmaps.shape[-2:]
    steps = torch.arange(-radius, radius + 1, device=heatmaps.device)
    x = peaks[..., 0, None] + steps
    y = peaks[..., 1, None] + steps
    border_x, inner_x = _border_and_inner(x, width)
    border_y, inner_y = _border_and_inner(y, height)

    def read(columns: Tensor, rows: Tensor) -> Tensor:
        return gather_cells(heatmaps, columns, rows).clamp_min(floor).log()

    def along_x(rows: Tensor) -> Tensor:
        return _continue_gaussian(
            read(border_x, rows),
            read(inner_x, rows),
            *(cells[..., None, :] for cells in (x, border_x, inner_x)),
            peaks[..., 0, None, None],
            sigma,
        )

    return _continue_gaussian(
        along_x(border_y),
        along_x(inner_y),
        *(cells[..., :, None] for cells in (y, border_y, inner_y)),
        peaks[..., 1, None, None],
        sigma,
    )


def _border_and_inner(cells: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """For each cell the nearest cell of the map, and that one's inner neighbour."""
    border = cells.clamp(0, length - 1)
    return border, border + torch.sign(border - cells)


def _continue_gaussian(
    border_log: Tensor,
    inner_log: Tensor,
    cells: Tensor,
    border: Tensor,
    inner: Tensor,
    peak: Tensor,
    sigma: float,
) -> Tensor:
    """Log value at ``cells`` on the 1-D Gaussian through a border and an inner cell.

    Solves ``border_log - inner_log = ((inner - c)^2 - (border - c)^2) / 2 sigma^2`` for
    the centre c. Inside the map cells equal border, and their own value comes back.
    """
    step = (inner - border).to(border_log.dtype)
    outside = step != 0
    slope = (border_log - inner_log) / torch.where(outside, step, torch.ones_like(step))
    centre = (inner + border) / 2 - slope * sigma**2
    centre = torch.clamp(centre, peak - 1, peak + 1)
    change = (border - centre).square() - (cells - centre).square()
    return border_log + torch.where(outside, change / (2 * sigma**2), 0.0)


def blur_patches(patches: Tensor, kernel: int) -> Tensor:
    """Blur ``(N, K, P, P)`` by OpenCV's Gaussian of ``kernel`` taps; valid cells."""
    if kernel == 1:
        return patches
    taps = torch.as_tensor(cv2.getGaussianKernel(kernel, 0)[:, 0]).to(patches)
    rows = patches.unfold(-2, kernel, 1) @ taps
    return rows.unfold(-1, kernel, 1) @ taps


def newton_step(gradient: Tensor, hessian: Tensor) -> Tensor:
    """``-H^-1 g`` in cells, from ``(..., 2)`` and ``(..., 3)`` = (xx, xy, yy).

    DARK (arXiv 1910.06278) equation 8, with two conditions that it leaves out: the step
    is zero unless the Hessian is negative definite, since only then the point it leads
    to is a maximum; and it is never longer than one cell, since the maximum of a
    Gaussian lies within half a cell of the largest sample along each axis.
    """
    xx, xy, yy = hessian.unbind(-1)
    gx, gy = gradient.unbind(-1)
    determinant = xx * yy - xy.square()
    maximum = (xx < 0) & (yy < 0) & (determinant > 0)
    safe = torch.where(maximum, determinant, torch.ones_like(determinant))
    step = torch.stack((xy * gy - yy * gx, xy * gx - xx * gy), dim=-1) / safe[..., None]
    step = torch.where(maximum[..., None] & step.isfinite(), step, 0.0)
    length = step.norm(dim=-1, keepdim=True)
    return step / length.clamp_min(1.0)
