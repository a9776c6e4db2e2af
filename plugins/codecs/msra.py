"""SimpleBaseline's codec (Xiao et al., ECCV 2018): rounded Gaussian, quarter shift."""

import torch
from torch import Tensor

from plugins.codecs.common.peaks import gather_cells
from plugins.codecs.common.rounded import RoundedCodec
from plugins.registry import CODECS

SHIFT = 0.25
"""Cells by which the peak moves toward its higher neighbour."""


@CODECS.register_module("msra")
class MSRACodec(RoundedCodec):
    """Gaussian around the rounded cell; argmax, a quarter cell to the higher side."""

    def refine(self, heatmaps: Tensor, peaks: Tensor) -> Tensor:
        """A quarter cell per axis; a border cell's only neighbour counts as the higher.

        MMPose leaves peaks within a cell of the border as they are. There the keypoint
        can only lie inward, since the map ends at the border cell's centre.
        """
        height, width = heatmaps.shape[-2:]
        x, y = peaks[..., 0, None], peaks[..., 1, None]

        # In legacy the input reaches 0.75 cells beyond the last cell: no step there.
        beyond = -1.0 if self.transform == "udp" else 0.0

        def sign(near: Tensor, far: Tensor, cell: Tensor, length: int) -> Tensor:
            difference = torch.sign(far - near).nan_to_num()[..., 0, 0]
            cell = cell[..., 0]
            difference = torch.where(cell == 0, 1.0, difference)
            return torch.where(cell == length - 1, beyond, difference)

        def value(column: Tensor, row: Tensor) -> Tensor:
            column, row = column.clamp(0, width - 1), row.clamp(0, height - 1)
            return gather_cells(heatmaps, column, row)

        dx = sign(value(x - 1, y), value(x + 1, y), x, width)
        dy = sign(value(x, y - 1), value(x, y + 1), y, height)
        return SHIFT * torch.stack((dx, dy), dim=-1)
