"""The argmax cell: the floor that every other decoder is compared with."""

from torch import Tensor

from plugins.codecs.common.rounded import RoundedCodec
from plugins.registry import CODECS


@CODECS.register_module("argmax")
class ArgmaxCodec(RoundedCodec):
    """Targets as ``msra``; decodes to the centre of the largest cell."""

    reads = ("heatmap", "heatmap+offset", "disc+offset")

    def refine(self, heatmaps: Tensor, index: Tensor) -> Tensor:
        """No step."""
        return heatmaps.new_zeros(2, 1)
