"""A quadratic fitted to the log heatmap around the peak: no blur, no border case.

The logarithm of a Gaussian is a quadratic, so that the fit is exact for a Gaussian on
any patch that has six cells or more; at a border the patch is clipped.
"""

import torch
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
        basis = torch.stack([x**a * y**b for a, b in POWERS], -1).flatten(0, 1)
        self._basis = basis
        self._products = (basis[:, :, None] * basis[:, None, :]).flatten(1)

    def draw(self, cells: Tensor) -> Tensor:
        """Untruncated targets around the sub-pixel centres."""
        return draw_gaussians(cells, self.heatmap_size, self.sigma)

    def refine(self, heatmaps: Tensor, peaks: Tensor) -> Tensor:
        """Newton step of the quadratic ``c + g p + p H p / 2`` that fits best.

        Weights are the squared heatmap, as a relative error of the map is an absolute
        one of its logarithm; cells that are not positive have none.
        """
        values, (outside_x, outside_y) = gather_patches(heatmaps, peaks, self.radius)
        usable = (outside_x == 0) & (outside_y == 0)[:, None]
        usable &= (values > FLOOR) & (values < torch.inf)
        values = torch.where(usable, values, 1.0).flatten(0, 1)
        weights = values.square() * usable.flatten(0, 1)
        normal = weights.T @ self._products.to(values)
        right = (weights * values.log()).T @ self._basis.to(values)
        normal = normal.view(-1, TERMS, TERMS)
        # Where a clipped patch leaves a curvature open it is the target's.
        ridge = RIDGE * normal[:, 0, :1] + 1e-30
        curved = torch.tensor([0, 0, 0, 1.0, 1, 1]).to(normal)
        prior = torch.tensor([0, 0, 0, 1.0, 0, 1]).to(normal) / (-2 * self.sigma**2)
        normal = normal + torch.diag_embed(ridge * curved)
        right = right + ridge * prior
        solution, _ = torch.linalg.solve_ex(normal, right[..., None])
        fit = solution[..., 0].T
        hessian = fit[3:] * torch.tensor([[2.0], [1.0], [2.0]]).to(fit)
        enough = usable.flatten(0, 1).sum(0) >= TERMS
        step = torch.where(enough, newton_step(fit[1:3], hessian), 0.0)
        return step.T.view(peaks.shape)
