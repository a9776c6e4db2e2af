"""The 7x7 cells around the keypoint's on which a density weights the offsets."""

import torch
from torch import Tensor

REACH = 3
"""Cells on each side of the keypoint's (the paper's window is 7x7)."""


def window_points(like: Tensor) -> Tensor:
    """Errors ``(49, 2)`` in cells, x then y, row by row."""
    steps = torch.arange(-REACH, REACH + 1, dtype=like.dtype, device=like.device)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack((x, y), -1).flatten(0, 1)


def normalise(log_density: Tensor) -> Tensor:
    """Log densities ``(49,)`` -> ``(7, 7)`` weights with minimum 0 and maximum 1."""
    density = (log_density - log_density.amax()).exp()
    smallest = density.amin()
    weights = (density - smallest) / (1 - smallest).clamp_min(1e-6)
    side = 2 * REACH + 1
    return weights.view(side, side)


def spread_window(
    window: Tensor, cells: Tensor, heatmap_size: tuple[int, int]
) -> Tensor:
    """Maps ``(N, K, h, w)`` that hold the window around the cells, 0 elsewhere.

    Args:
        window: ``(7, 7)``, rows are y.
        cells: ``(N, K, 2)``.
        heatmap_size: ``(w, h)``.
    """
    # One ring of zeros around the window is what all cells beyond it read.
    padded = torch.nn.functional.pad(window, (1, 1, 1, 1))
    side, rows = padded.shape[-1], []
    for axis, length in enumerate(heatmap_size):
        places = torch.arange(length, dtype=cells.dtype, device=cells.device)
        distance = places - cells[..., axis, None]
        rows.append((distance + REACH + 1).clamp(0, side - 1).long())
    index = rows[1][..., :, None] * side + rows[0][..., None, :]
    return padded.flatten()[index]
