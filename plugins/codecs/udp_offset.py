"""UDP's combined form (arXiv 1911.07524): a disc and the offsets inside it."""

import cv2
import torch
from torch import Tensor

from plugins.codecs.common.couplings import derive_radius
from plugins.codecs.common.heatmap import round_cells
from plugins.codecs.common.offsets import OffsetCodec
from plugins.constants import constant
from plugins.registry import CODECS


@CODECS.register_module("udp_offset")
class UDPOffsetCodec(OffsetCodec):
    """Disc around the keypoint, offsets in units of its radius.

    As released (MMPose's ``UDPHeatmap`` of type ``combined``): ``radius_factor``
    0.0546875 and ``kernel`` 11, which blurs the disc map with 23 taps at every size
    before the argmax; at 64x48 that leaves the disc in which offsets are learnt for
    81 % of keypoints. The default derives the radius and does not blur.

    Args:
        input_size: input ``(w, h)`` in pixels.
        radius_factor: radius relative to the heatmap's longer side; derived by default.
        kernel: a blur of ``2 kernel + 1`` taps before the argmax; None: no blur.
    """

    produces = "disc+offset"
    reads = ("disc+offset",)

    def __init__(
        self,
        input_size: tuple[int, int],
        transform: str = "udp",
        radius_factor: float | None = None,
        kernel: int | None = None,
    ) -> None:
        super().__init__(input_size, transform)
        longer = max(self.heatmap_size)
        released = radius_factor is not None
        self.radius = (
            radius_factor * longer if released else derive_radius(self.heatmap_size)
        )
        if self.radius <= 0:
            raise ValueError(f"radius_factor {radius_factor}: expected more than 0")
        if kernel is not None and kernel < 0:
            raise ValueError(f"kernel {kernel}: expected 0 or more")
        self.unit, self.kernel = self.radius, kernel

    def reaches_map(self, cells: Tensor) -> Tensor:
        """Whether the disc may hold a cell of the map, ``(N, K)``."""
        last = constant(self.heatmap_size, cells) - 1
        nearest = torch.minimum(round_cells(cells).clamp_min(0), last)
        return (cells - nearest).square().sum(-1) <= self.radius**2

    def draw(self, cells: Tensor) -> Tensor:
        """Ones in the disc."""
        x, y = self.distances(cells * self.pixels_per_cell(cells))
        return ((x.square() + y.square()) <= self.radius**2).to(cells)

    def locate(self, heatmaps: Tensor) -> Tensor:
        """The disc maps, blurred by OpenCV's Gaussian as released if so set."""
        if self.kernel is None:
            return heatmaps
        taps = cv2.getGaussianKernel(2 * self.kernel + 1, 0)[:, 0]
        for axis in (-1, -2):
            matrix = _blur_matrix(taps, heatmaps.shape[axis]).to(heatmaps)
            heatmaps = (heatmaps.transpose(axis, -1) @ matrix).transpose(axis, -1)
        return heatmaps


def _blur_matrix(taps: list[float], length: int) -> Tensor:
    """``(length, length)``: blur along an axis, borders reflected as in OpenCV."""
    matrix = torch.zeros(length, length, dtype=torch.float64)
    reach = len(taps) // 2
    for cell in range(length):
        for tap, weight in zip(range(-reach, reach + 1), taps, strict=True):
            source = cv2.borderInterpolate(cell + tap, length, cv2.BORDER_REFLECT_101)
            matrix[source, cell] += float(weight)
    return matrix
