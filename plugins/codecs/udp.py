"""UDP (Huang et al., CVPR 2020, arXiv 1911.07524): unit lengths, 3x3 Taylor decode."""

import torch
from torch import Tensor

from plugins.codecs.taylor import TaylorCodec
from plugins.registry import CODECS


@CODECS.register_module("udp")
class UDPCodec(TaylorCodec):
    """Truncated Gaussian around the sub-pixel centre; UDP's 3x3 differences."""

    reach = 1
    floor = 1e-3

    def draw(self, cells: Tensor) -> Tensor:
        """Targets around the sub-pixel centres, cut at three sigmas."""
        return self.draw_truncated(cells, cells)

    def differences(self, logs: Tensor) -> tuple[Tensor, Tensor]:
        """Differences to the next cells, as in UDP's and MMPose's code."""

        def at(dx: int, dy: int) -> Tensor:
            return logs[..., 1 + dy, 1 + dx]

        gradient = (at(1, 0) - at(-1, 0), at(0, 1) - at(0, -1))
        xx = at(1, 0) - 2 * at(0, 0) + at(-1, 0)
        yy = at(0, 1) - 2 * at(0, 0) + at(0, -1)
        xy = 2 * at(0, 0) + at(1, 1) + at(-1, -1)
        xy = 0.5 * (xy - at(1, 0) - at(0, 1) - at(-1, 0) - at(0, -1))
        return 0.5 * torch.stack(gradient, -1), torch.stack((xx, xy, yy), -1)
