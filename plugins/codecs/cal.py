"""CAL (arXiv 2109.09090): sub-pixel Gaussian and offset map, confidence-aware."""

from torch import Tensor

from plugins.codecs.common.couplings import derive_offset_sigma
from plugins.codecs.common.gaussian import draw_gaussians
from plugins.codecs.common.offsets import OffsetCodec
from plugins.registry import CODECS

RADIUS = 4.0
"""Cells: the paper's disc, which has to hold the argmax of a coarse prediction. How far
that strays is counted in cells, so the disc does not shrink with the map."""


@CODECS.register_module("cal")
class CALCodec(OffsetCodec):
    """Gaussian around the sub-pixel centre over the full map, offsets in a disc.

    Args:
        input_size, sigma: see ``HeatmapCodec``.
        radius: of the disc of supervised offsets in cells.
        unit: cells that an offset of 1 stands for (released: 1.5 for W32, else 1).
    """

    produces = "heatmap+offset"
    reads = ("heatmap+offset",)

    def __init__(
        self,
        input_size: tuple[int, int],
        transform: str = "udp",
        sigma: float | None = None,
        radius: float | None = None,
        unit: float | None = None,
    ) -> None:
        super().__init__(input_size, transform, sigma)
        self.radius = RADIUS if radius is None else float(radius)
        self.unit = 1.0 if unit is None else float(unit)
        if self.radius <= 0 or self.unit <= 0:
            raise ValueError(
                f"radius {radius}, unit {unit}: expected positive numbers of cells"
            )

    def derive_sigma(self) -> float:
        """Smaller than where the sub-cell position is read from the heatmap."""
        return derive_offset_sigma(self.heatmap_size)

    def draw(self, cells: Tensor) -> Tensor:
        """Untruncated targets around the sub-pixel centres."""
        return draw_gaussians(cells, self.heatmap_size, self.sigma)
