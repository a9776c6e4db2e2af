"""DARK (Zhang et al., CVPR 2020, arXiv 1910.06278): sub-pixel targets, Taylor step."""

import torch
from torch import Tensor

from plugins.codecs.common.gaussian import draw_gaussians
from plugins.codecs.common.heatmap import TRUNCATION
from plugins.codecs.common.taylor import FLOOR, TaylorCodec
from plugins.constants import constant
from plugins.registry import CODECS

# Central differences over two cells for the second derivatives.
STENCIL = torch.zeros(5, 5, 5)
STENCIL[0, 2, [1, 3]] = torch.tensor([-0.5, 0.5])
STENCIL[1, [1, 3], 2] = torch.tensor([-0.5, 0.5])
STENCIL[2, [0, 2, 4], 2] = torch.tensor([0.25, -0.5, 0.25])
STENCIL[3, 2, [0, 2, 4]] = torch.tensor([0.25, -0.5, 0.25])
STENCIL[4, [1, 3, 1, 3], [1, 3, 3, 1]] = torch.tensor([0.25, 0.25, -0.25, -0.25])


@CODECS.register_module("dark")
class DARKCodec(TaylorCodec):
    """Gaussian around the sub-pixel centre over the full map; DARK's differences."""

    floor = FLOOR
    stencil = STENCIL

    def draw(self, cells: Tensor) -> Tensor:
        """Untruncated targets around the sub-pixel centres."""
        return draw_gaussians(cells, self.heatmap_size, self.sigma)

    def reaches_map(self, cells: Tensor) -> Tensor:
        """As in MMPose: the 3-sigma patch of the unrounded centre."""
        radius = TRUNCATION * self.sigma
        size = constant(self.heatmap_size, cells)
        return ((cells - radius < size) & (cells + radius + 1 >= 0)).all(-1)
