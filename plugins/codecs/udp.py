"""UDP (Huang et al., CVPR 2020, arXiv 1911.07524): unit lengths, 3x3 Taylor decode."""

import torch
from torch import Tensor

from plugins.codecs.common.taylor import TaylorCodec
from plugins.registry import CODECS

# Differences to the next cells, as in UDP's and MMPose's code: one diagonal alone.
STENCIL = torch.tensor(
    [
        [[0, 0, 0], [-0.5, 0, 0.5], [0, 0, 0]],
        [[0, -0.5, 0], [0, 0, 0], [0, 0.5, 0]],
        [[0, 1, 0], [0, -2, 0], [0, 1, 0]],
        [[0, 0, 0], [1, -2, 1], [0, 0, 0]],
        [[0.5, -0.5, 0], [-0.5, 1, -0.5], [0, -0.5, 0.5]],
    ]
)


@CODECS.register_module("udp")
class UDPCodec(TaylorCodec):
    """Truncated Gaussian around the sub-pixel centre; UDP's 3x3 differences."""

    floor = 1e-3
    stencil = STENCIL

    def draw(self, cells: Tensor) -> Tensor:
        """Targets around the sub-pixel centres, cut at three sigmas."""
        return self.draw_truncated(cells, cells)
