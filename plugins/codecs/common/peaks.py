"""Peaks of heatmaps and steps from there; no loop over persons or joints."""

import functools

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
    return all_cells(size, index.device).index_select(1, index.flatten())


@functools.cache
def all_cells(size: tuple[int, int], device: torch.device) -> Tensor:
    """Cells ``(2, h * w)`` (x, y; float32) of a flat map, made once per device."""
    # What inference mode makes cannot take part in a later backward pass.
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
