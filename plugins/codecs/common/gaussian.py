"""Gaussian heatmaps of a batch; no loop over persons or joints."""

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
