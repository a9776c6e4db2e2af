"""DARK (Zhang et al., CVPR 2020, arXiv 1910.06278): sub-pixel targets, Taylor step."""

import torch
from torch import Tensor

from plugins.codecs.base import TRUNCATION
from plugins.codecs.gaussian import draw_gaussians
from plugins.codecs.taylor import FLOOR, TaylorCodec
from plugins.registry import CODECS


@CODECS.register_module("dark")
class DARKCodec(TaylorCodec):
    """Gaussian around the sub-pixel centre over the full map; DARK's differences."""

    reach = 2
    floor = FLOOR

    def draw(self, cells: Tensor) -> Tensor:
        """Untruncated targets around the sub-pixel centres."""
        return draw_gaussians(cells, self.heatmap_size, self.sigma)

    def reaches_map(self, cells: Tensor) -> Tensor:
        """As in MMPose: the 3-sigma patch of the unrounded centre."""
        radius = TRUNCATION * self.sigma
        size = torch.tensor(self.heatmap_size).to(cells)
        return ((cells - radius < size) & (cells + radius + 1 >= 0)).all(-1)

    def differences(self, logs: Tensor) -> tuple[Tensor, Tensor]:
        """Central differences over two cells for the second derivatives."""

        def at(dx: int, dy: int) -> Tensor:
            return logs[..., 2 + dy, 2 + dx]

        gradient = (at(1, 0) - at(-1, 0), at(0, 1) - at(0, -1))
        xx = at(2, 0) - 2 * at(0, 0) + at(-2, 0)
        yy = at(0, 2) - 2 * at(0, 0) + at(0, -2)
        xy = at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1)
        return 0.5 * torch.stack(gradient, -1), 0.25 * torch.stack((xx, xy, yy), -1)
