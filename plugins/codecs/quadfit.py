"""A quadratic fitted to the log heatmap around the peak: no blur, no border case.

The logarithm of a Gaussian is a quadratic, so that the fit is exact for a Gaussian on
any patch that has six cells or more; at a border the patch is clipped.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

from plugins.codecs.common.couplings import derive_fit_radius
from plugins.codecs.common.gaussian import draw_gaussians
from plugins.codecs.common.heatmap import HeatmapCodec
from plugins.codecs.common.patches import cells_inside, gather_patches
from plugins.codecs.common.peaks import newton_step
from plugins.constants import Fixed, constant
from plugins.registry import CODECS

POWERS = ((0, 0), (1, 0), (0, 1), (0, 2), (2, 0), (1, 1))
"""Exponents of x and y in the six terms ``x^a y^b / (a! b!)`` of a quadratic."""
TERMS = len(POWERS)
CURVATURES = 3
"""The last of the terms."""
PAIRS = sorted(
    itertools.combinations_with_replacement(range(TERMS), 2),
    key=lambda pair: pair[0] == pair[1] >= TERMS - CURVATURES,
)
"""Of terms; last those of each curvature with itself."""
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
        terms = [x**a * y**b / max(a, b, 1) for a, b in POWERS]
        basis = torch.stack(terms).flatten(1)
        self._basis, self._products = Fixed(basis), Fixed(_products_of(basis))

    def draw(self, cells: Tensor) -> Tensor:
        """Untruncated targets around the sub-pixel centres."""
        return draw_gaussians(cells, self.heatmap_size, self.sigma)

    def refine(self, heatmaps: Tensor, index: Tensor) -> Tensor:
        """Newton step of the quadratic ``c + g p + p H p / 2`` that fits best.

        Weights are the squared heatmap, as a relative error of the map is an absolute
        one of its logarithm; cells that are not positive have none.
        """
        values = gather_patches(heatmaps, index, self.radius)
        # Zero where there is nothing to fit: below the floor, or outside.
        values = F.threshold(values, FLOOR, 0.0)
        columns, rows = cells_inside(heatmaps, index, self.radius)
        values = values.mul_(columns).mul_(rows[:, None]).flatten(0, 1)
        weights = values.square()
        enough = values.sign().sum(0) >= TERMS
        logs = values.clamp_min_(FLOOR).log_()
        right = self._basis.like(logs) @ logs.mul_(weights)
        sums = self._products.like(weights) @ weights
        normal, ridges = sums.split((len(PAIRS), CURVATURES))
        normal[-CURVATURES:] += ridges
        right[-CURVATURES:-1].sub_(ridges[:-1], alpha=1 / self.sigma**2)
        rows = torch.cat((normal, right)).index_select(0, PLACES.like(index))
        solution = solve(rows.view(TERMS, TERMS + 1, -1))
        step = newton_step(solution[:2], solution[2:])
        return torch.where(enough, step, constant(0.0, step))


def _products_of(basis: Tensor) -> Tensor:
    """``(PAIRS + CURVATURES, C)``: what weights of C cells are added up with.

    With the products of each two terms ``(T, C)`` for the normal equations' left side;
    and with what is added there to the curvatures, so that one that a clipped patch
    leaves open becomes that of the target.
    """
    products = torch.stack([basis[first] * basis[second] for first, second in PAIRS])
    # Of x^2 / 2 and y^2 / 2 a fourth, as they are half the size of xy.
    ridges = torch.tensor([RIDGE / 4, RIDGE / 4, RIDGE])
    return torch.cat((products, ridges[:, None].expand(-1, basis.shape[1])))


def _place_pairs() -> Tensor:
    """Rows of the equations ``(T, T + 1)``, flat: symmetric pairs, then right sides."""
    place = torch.zeros(TERMS, TERMS + 1, dtype=torch.long)
    for row, (first, second) in enumerate(PAIRS):
        place[first, second] = place[second, first] = row
    place[:, TERMS] = torch.arange(TERMS) + len(PAIRS)
    return place.flatten()


PLACES = Fixed(_place_pairs())


def solve(rows: Tensor) -> Tensor:
    """Solve M positive definite systems ``(T, T + 1, M)``.

    Gives their unknowns but for the first, ``(T - 1, M)``.

    Gauss's elimination, in place and for all of them at once: T is so small that
    LAPACK, which takes them one by one, spends more on calls than on arithmetic.
    """
    terms = len(rows)
    for pivot in range(terms - 1):
        row, below = rows[pivot:, pivot:].split((1, terms - pivot - 1))
        # Of the column: where rows are multiples of each other nothing is left of them,
        # and a ridge, however small, remains.
        factor = below[:, :1] / row[:, :1]
        below.addcmul_(factor, row, value=-1)
    *columns, solution = rows.unbind(1)
    for pivot in range(terms - 1, 0, -1):
        known = solution[pivot].div_(columns[pivot][pivot])
        solution[1:pivot].addcmul_(columns[pivot][1:pivot], known, value=-1)
    return solution[1:]
