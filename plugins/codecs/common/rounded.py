"""Targets around the rounded cell: what argmax and msra share."""

from torch import Tensor

from plugins.codecs.common.heatmap import HeatmapCodec, round_cells


class RoundedCodec(HeatmapCodec):
    """Gaussian around the rounded cell, cut at three sigmas (arXiv 1804.06208)."""

    def draw(self, cells: Tensor) -> Tensor:
        """Targets around the rounded cells."""
        return self.draw_truncated(round_cells(cells), cells)
