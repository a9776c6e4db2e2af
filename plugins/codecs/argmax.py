"""The argmax cell: the floor that every other decoder is compared with."""

import torch
from torch import Tensor

from plugins.codecs.msra import MSRACodec
from plugins.registry import CODECS


@CODECS.register_module("argmax")
class ArgmaxCodec(MSRACodec):
    """Targets as ``msra``; decodes to the centre of the largest cell."""

    def refine(self, heatmaps: Tensor, peaks: Tensor) -> Tensor:
        """No step."""
        return torch.zeros_like(peaks, dtype=heatmaps.dtype)
