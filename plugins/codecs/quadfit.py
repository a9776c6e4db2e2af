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
from plugins.constants import Fixed
from plugins.registry import CODECS

POWERS = ((0, 0), (1, 0), (0, 1), (0, 2), (2, 0), (1, 1))
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
        self._sums = Fixed(self._sums_of(basis))

    def draw(self, cells: Tensor) -> Tensor:
        """Untruncated targets around the sub-pixel centres."""
        return draw_gaussians(cells, self.heatmap_size, self.sigma)

    def refine(self, heatmaps: Tensor, peaks: Tensor) -> Tensor:
        """Newton step of the quadratic ``c + g p + p H p / 2`` that fits best.

        Weights are the squared heatmap, as a relative error of the map is an absolute
        one of its logarithm; cells that are not positive have none.
        """
        patches = gather_patches(heatmaps, peaks, self.radius)
        inside = (patches.outside == 0).to(patches.values)
        # Zero where there is nothing to fit: outside, or below the floor.
        values = F.threshold(patches.values, FLOOR, 0.0)
        values = values.mul_(inside[0]).mul_(inside[1][:, None]).flatten(0, 1)
        weights = values.square()
        known = torch.cat((weights, torch.xlogy(weights, values)))
        sums = self._sums.like(known) @ known
        gx, gy, yy, xx, xy = solve(sums.view(TERMS, TERMS + 1, -1))
        step = newton_step(torch.stack((gx, gy)), torch.stack((2 * yy, 2 * xx, xy)))
        enough = values.sign().sum(0) >= TERMS
        return peaks.addcmul(step, enough.to(step))

    def _sums_of(self, basis: Tensor) -> Tensor:
        """``(T * (T + 1), 2 C)``: the normal equations, linear in what is known.

        That is the weight of each of C cells, and the same times the cell's logarithm.

        Args:
            basis: ``(T, C)``, the terms at each cell.
        """
        normal = basis[:, None] * basis
        right = torch.zeros_like(basis)
        # Where a clipped patch leaves a curvature open it is the target's.
        for term, (x, y) in enumerate(POWERS):
            if x + y == 2:
                normal[term, term] += RIDGE
                right[term] -= RIDGE / (2 * self.sigma**2) * (x != y)
        from_weights = torch.cat((normal, right[:, None]), 1)
        from_logs = torch.cat((torch.zeros_like(normal), basis[:, None]), 1)
        return torch.cat((from_weights, from_logs), -1).flatten(0, 1)


def solve(rows: Tensor) -> Tensor:
    """Solve M positive definite systems ``(T, T + 1, M)``; all unknowns but the first.

    Gauss's and Jordan's elimination for all of them at once: T is so small that LAPACK,
    which takes them one by one, spends more on calls than on arithmetic.
    """
    for pivot in range(len(rows)):
        first, others = rows[:, :1], rows[:, 1:]
        row = others[pivot] / first[pivot]
        rows = torch.addcmul(others, first, row, value=-1)
        rows[pivot] = row
    return rows[1:, 0]
