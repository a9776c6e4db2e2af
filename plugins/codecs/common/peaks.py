"""Peaks of heatmaps and the cells around them; no loop over persons or joints."""

import functools
from dataclasses import dataclass

import cv2
import torch
from torch import Tensor

from plugins.constants import constant

SMALLEST = 1e-30
"""Determinant of a Hessian that float32 can still tell from zero."""


def find_peaks(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Cell ``(N, K, 2)`` (x, y; long) and value ``(N, K)`` of each map's maximum.

    See ``find_maxima``.
    """
    index, values = find_maxima(heatmaps)
    width = heatmaps.shape[-1]
    return torch.stack((index % width, index // width), dim=-1), values


def find_maxima(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Place ``(N, K)`` in the flat map and value ``(N, K)`` of each map's maximum.

    Where the maximum is not a positive finite number, or opposite corners of the map
    reach it as flat maps do, the value is 0: such a map says nothing.
    """
    flat = heatmaps.flatten(-2)
    index = argmax(flat)
    value = flat.gather(-1, index[..., None])[..., 0]
    # Not above zero, NaN and infinite ones fail here too: the difference is then 0 or
    # below, or no number, or as infinite as what it is compared with.
    height = value - torch.minimum(flat[..., 0], flat[..., -1]).clamp_min(0)
    return index, torch.where(height > value * 1e-6, value, constant(0.0, value))


def cells_of(index: Tensor, size: tuple[int, int]) -> Tensor:
    """Cells ``(2, M)`` (x, y; float32) of M places in flat maps of ``(w, h)`` cells."""
    return _cells(size, index.device).index_select(1, index.flatten())


@functools.lru_cache(maxsize=64)
def _cells(size: tuple[int, int], device: torch.device) -> Tensor:
    """Cells ``(2, h * w)`` of a flat map."""
    with torch.inference_mode(False):
        x, y = (torch.arange(length, device=device).float() for length in size)
        return torch.stack(torch.meshgrid(x, y, indexing="xy")).flatten(1)


def argmax(flat: Tensor) -> Tensor:
    """Index of the largest value along the last axis, of the first NaN if there is one.

    On a CPU by numpy, whose pass takes a sixth to a third of the time of torch 2.13's
    (benchmarks/decode.py).
    """
    if flat.device.type != "cpu" or flat.dtype not in (torch.float32, torch.float64):
        return flat.argmax(-1)
    return torch.as_tensor(flat.detach().numpy().argmax(-1))


@dataclass(frozen=True)
class Patches:
    """Square patches around M peaks, ``P = 2 radius + 1`` cells on a side.

    Peaks come last, so that every operation runs along them and not along the few cells
    of a patch.

    Attributes:
        values: ``(P, P, M)``; cells outside the map hold the nearest cell of the map.
        outside: ``(2, P, M)`` by how many cells each column and each row is outside:
            negative before the first one, positive beyond the last one.
    """

    values: Tensor
    outside: Tensor


def gather_patches(heatmaps: Tensor, peaks: Tensor, radius: int) -> Patches:
    """Patches of maps ``(N, K, h, w)`` around peaks ``(2, M)``; M is N times K."""
    width = heatmaps.shape[-1]
    places = peaks[:, None] + _steps(radius, peaks)
    inside = torch.minimum(places, _last_cell(heatmaps)).clamp_min_(0)
    x, y = inside.to(_index_type(heatmaps))
    index = torch.add(_starts(heatmaps), y, alpha=width)[:, None] + x
    # A third of the time of take, and a quarter of that of gather.
    values = heatmaps.flatten().index_select(0, index.flatten()).view(index.shape)
    return Patches(values, places.sub_(inside))


def _steps(radius: int, like: Tensor) -> Tensor:
    """``(P, 1)``: columns or rows of a patch, counted from its peak."""
    return constant(tuple(range(-radius, radius + 1)), like)[:, None]


def _last_cell(heatmaps: Tensor) -> Tensor:
    """``(2, 1, 1)``: last column and last row."""
    height, width = heatmaps.shape[-2:]
    return constant((width - 1, height - 1), heatmaps)[:, None, None]


def _index_type(heatmaps: Tensor) -> torch.dtype:
    """Half the memory of int64 wherever it can count all cells."""
    return torch.int32 if heatmaps.numel() < 2**31 else torch.int64


def _starts(heatmaps: Tensor) -> Tensor:
    """``(M,)``: where each map begins in all of them."""
    size = heatmaps.shape[-2] * heatmaps.shape[-1]
    kind = dict(dtype=_index_type(heatmaps), device=heatmaps.device)
    return torch.arange(0, heatmaps.numel(), size, **kind)


def continued_patches(
    heatmaps: Tensor, peaks: Tensor, radius: int, sigma: float, floor: float
) -> Tensor:
    """Values ``(P, P, M)`` of the maps around their peaks; see ``Patches``.

    Inside the map they are as they are, negative ones too. Cells outside continue the
    Gaussian from the nearest border cell, by what its fall along the peak's own row and
    column says: a Gaussian falls alike along all of them, and there it is highest above
    the noise.

    Args:
        heatmaps: ``(N, K, h, w)``.
        peaks: ``(2, M)`` cells of the maxima.
        radius: cells on each side of the peak.
        sigma: of the target Gaussian, in cells.
        floor: smallest value whose logarithm is taken.
    """
    patches = gather_patches(heatmaps, peaks, radius)
    centres = _centres_seen_from_borders(heatmaps, peaks, sigma, floor)
    # A cell that is o = x - b outside falls by o (2 c - b - x) / 2 sigma^2; inside the
    # map o is 0.
    outside = patches.outside
    falls = torch.sub(outside, _steps(radius, peaks), alpha=2).mul_(outside)
    falls.addcmul_(outside.clamp_max(0), centres[:, :1], value=2)
    falls.addcmul_(outside.clamp_min(0), centres[:, 1:], value=2)
    along_x, along_y = falls.mul_(0.5 / sigma**2).exp_()
    return patches.values.mul_(along_x).mul_(along_y[:, None])


def _centres_seen_from_borders(
    heatmaps: Tensor, peaks: Tensor, sigma: float, floor: float
) -> Tensor:
    """Where the peak's centre is by each border, ``(2, 2, M)`` cells from the peak.

    Along x and y; by the first and by the last cell of the peak's own row or column.
    With b the border cell, i its inner neighbour and s the side (1 or -1, i = b - s),
    ``L(b) - L(i) = ((i - c)^2 - (b - c)^2) / 2 sigma^2`` gives the centre
    ``c = (b + i) / 2 + s sigma^2 (L(b) - L(i))``. It is kept within one cell of the
    peak, since the refined peak must be.
    """
    height, width = heatmaps.shape[-2:]
    x, y = peaks.to(_index_type(heatmaps))
    starts = _starts(heatmaps)
    lines = torch.stack((torch.add(starts, y, alpha=width), starts + x))
    ends = tuple(
        (0, step * (length - 1), step * min(1, length - 1), step * max(length - 2, 0))
        for step, length in ((1, width), (width, height))
    )
    index = lines[:, None] + constant(ends, lines)[..., None]
    values = heatmaps.flatten().index_select(0, index.flatten())
    borders, inner = values.clamp_min_(floor).log_().view(2, 2, 2, -1).unbind(1)
    middles = constant(((0.5, width - 1.5), (0.5, height - 1.5)), peaks)[..., None]
    centres = (middles - peaks[:, None]).addcmul_(
        borders - inner, constant((-(sigma**2), sigma**2), peaks)[:, None]
    )
    return centres.clamp_(-1, 1)


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

    The Hessian is yy, xx, xy.

    DARK (arXiv 1910.06278) equation 8, with two conditions that it leaves out: the step
    is zero unless the Hessian is negative definite, since only then the point it leads
    to is a maximum; and it is never longer than one cell, since the maximum of a
    Gaussian lies within half a cell of the largest sample along each axis.
    """
    yy, xx, xy = hessian
    determinant = xx * yy - xy * xy
    # With xx negative and a positive determinant yy is negative too.
    maximum = (xx < 0) & (determinant > SMALLEST)
    # The step is this through the determinant, shortened where it is longer than 1.
    step = (gradient.flip(0) * xy).addcmul_(gradient, hessian[:2], value=-1)
    step /= torch.maximum(determinant, torch.hypot(*step))
    return torch.where(maximum, step, constant(0.0, step)).nan_to_num_(0.0, 0.0, 0.0)
