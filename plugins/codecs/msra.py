"""SimpleBaseline's codec (Xiao et al., ECCV 2018): rounded Gaussian, quarter shift."""

import torch
from torch import Tensor

from plugins.codecs.common.patches import cells_outside, gather_patches
from plugins.codecs.common.rounded import RoundedCodec
from plugins.registry import CODECS

SHIFT = 0.25
"""Cells by which the peak moves toward its higher neighbour."""


@CODECS.register_module("msra")
class MSRACodec(RoundedCodec):
    """Gaussian around the rounded cell; argmax, a quarter cell to the higher side."""

    def refine(self, heatmaps: Tensor, index: Tensor) -> Tensor:
        """A quarter cell per axis; a border cell's only neighbour counts as the higher.

        MMPose leaves peaks within a cell of the border as they are. There the keypoint
        can only lie inward, since the map ends at the border cell's centre.
        """
        # In legacy the input reaches 0.75 cells beyond the last cell: no step there.
        beyond = -1.0 if self.transform == "udp" else 0.0
        values = gather_patches(heatmaps, index, 1)
        outside = cells_outside(heatmaps, index, 1)
        lines = torch.stack((values[1], values[:, 1]))
        sign = torch.sign(lines[:, 2] - lines[:, 0]).nan_to_num_()
        sign.masked_fill_(outside[:, 0] < 0, 1.0)
        sign.masked_fill_(outside[:, 2] > 0, beyond)
        return SHIFT * sign
