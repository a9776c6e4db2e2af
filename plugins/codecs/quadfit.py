"""A quadratic fitted to the log heatmap around the peak: no blur, no border case.

The logarithm of a Gaussian is a quadratic, so that the fit is exact for a Gaussian on
any patch that has six cells or more; at a border the patch is clipped.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from plugins.codecs.common.couplings import derive_fit_radius
from plugins.codecs.common.gaussian import draw_gaussians
from plugins.codecs.common.heatmap import HeatmapCodec
from plugins.codecs.common.peaks import gather_patches, newton_step
from plugins.registry import CODECS

POWERS = ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2))
"""Exponents of x and y in the six terms of a quadratic."""
TERMS = len(POWERS)
RIDGE = 1e-7
"""Of the curvatures toward the target's; relative to the sum of weights."""
FLOOR = 1e-10


@CODECS.register_module("quadfit")
class QuadraticFitCodec(HeatmapCodec):
    """Targets as ``dark``; decodes by weighted least squares.

    Args:
        input_size, transform, sigma: see ``HeatmapCodec``.
        radius: cells on each side of the peak that the fit reads; derived from sigma.
    """

    def __init__(
        self,
        input_size: tuple[int, int],
        transform: str = "udp",
        sigma: float | None = None,
        radius: int | None = None,
    ) -> None:
        super().__init__(input_size, transform, sigma)
        self.radius = derive_fit_radius(self.sigma) if radius is None else int(radius)
        if self.radius < 1:
            raise ValueError(f"radius {radius}: expected at least one cell")
        steps = torch.arange(-self.radius, self.radius + 1.0)
        y, x = torch.meshgrid(steps, steps, indexing="ij")
        basis = torch.stack([x**a * y**b for a, b in POWERS]).flatten(1)
        self._basis = basis
        self._products = (basis[:, None] * basis).flatten(0, 1)

    def draw(self, cells: Tensor) -> Tensor:
        """Untruncated targets around the sub-pixel centres."""
        return draw_gaussians(cells, self.heatmap_size, self.sigma)

    def refine(self, heatmaps: Tensor, peaks: Tensor) -> Tensor:
        """Newton step of the quadratic ``c + g p + p H p / 2`` that fits best.

        Weights are the squared heatmap, as a relative error of the map is an absolute
        one of its logarithm; cells that are not positive have none.
        """
        values, outside = gather_patches(heatmaps, peaks, self.radius)
        inside = (outside == 0).to(values)
        values = (values * inside[0] * inside[1][:, None]).flatten(0, 1)
        # Zero where there is nothing to fit: outside, below the floor, not finite.
        values = F.threshold(values.nan_to_num(0.0, 0.0, 0.0), FLOOR, 0.0)
        weights = values.square()
        logs = values.clamp_min(FLOOR).log()
        normal = (self._products.to(values) @ weights).view(TERMS, TERMS, -1)
        right = self._basis.to(values) @ (weights * logs)
        # Where a clipped patch leaves a curvature open it is the target's.
        ridge = RIDGE * normal[0, 0] + 1e-30
        normal.diagonal()[:, 3:] += ridge[:, None]
        right[3::2] -= ridge / (2 * self.sigma**2)
        _, gx, gy, xx, xy, yy = solve(normal, right)
        step = newton_step(torch.stack((gx, gy)), torch.stack((2 * xx, xy, 2 * yy)))
        enough = (values > 0).sum(0) >= TERMS
        return torch.where(enough, step, 0.0).T.view(peaks.shape)


def solve(normal: Tensor, right: Tensor) -> Tensor:
    """Solve ``normal (T, T, M) x = right (T, M)`` for M positive definite systems.

    Gauss's elimination for all of them at once: T is so small that LAPACK, which takes
    them one by one, spends more on calls than on arithmetic.
    """
    rows = torch.cat((normal, right[:, None]), 1)
    terms = len(rows)
    for pivot in range(terms - 1):
        below, beyond = rows[pivot + 1 :], slice(pivot + 1, None)
        factor = below[:, pivot] / rows[pivot, pivot]
        below[:, beyond].addcmul_(factor[:, None], rows[pivot, beyond], value=-1)
    solution = rows[:, terms]
    for pivot in reversed(range(terms)):
        solution[pivot] /= rows[pivot, pivot]
        solution[:pivot].addcmul_(rows[:pivot, pivot], solution[pivot], value=-1)
    return solution
