"""Decoding by a Taylor expansion of the log heatmap: what DARK and UDP share."""

from torch import Tensor

from plugins.codecs.common.couplings import derive_kernel
from plugins.codecs.common.heatmap import HeatmapCodec
from plugins.codecs.common.patches import blur_matrix, continued_patches
from plugins.codecs.common.peaks import newton_step
from plugins.constants import Fixed

FLOOR = 1e-10
"""Smallest heatmap value whose logarithm is taken (MMPose's)."""


class TaylorCodec(HeatmapCodec):
    """Modulate, take the logarithm, and go to the maximum of its Taylor expansion.

    Works on a patch around the peak. Where the patch leaves the map it continues the
    Gaussian, so border cells are refined like all others (MMPose leaves them: 27 % of
    the cells at 128x96, half of them at 64x48).

    Args:
        input_size, transform, sigma: see ``HeatmapCodec``.
        kernel: taps of the modulating blur; derived from sigma by default.
    """

    floor: float
    """Smallest modulated value whose logarithm is taken."""
    stencil: Tensor
    """``(5, R, R)``: differences gx, gy, yy, xx, xy on the cells around the peak."""

    def __init__(
        self,
        input_size: tuple[int, int],
        transform: str = "udp",
        sigma: float | None = None,
        kernel: int | None = None,
    ) -> None:
        super().__init__(input_size, transform, sigma)
        self.kernel = derive_kernel(self.sigma) if kernel is None else int(kernel)
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"kernel {kernel}: expected an odd number of taps")
        used = self.stencil.flatten(1).any(0)
        reach = self.stencil.shape[-1] // 2
        self.radius = reach + self.kernel // 2
        self._blur = Fixed(blur_matrix(self.kernel, reach)[used])
        self._differences = Fixed(self.stencil.flatten(1)[:, used])

    def refine(self, heatmaps: Tensor, index: Tensor) -> Tensor:
        """Newton step on the modulated log heatmap."""
        patches = continued_patches(heatmaps, index, self.radius, self.sigma, FLOOR)
        modulated = self._blur.like(patches) @ patches.flatten(0, 1)
        # DARK rescales to the old maximum, which matters where the floor is reached.
        maxima = patches[self.radius, self.radius]
        modulated *= maxima / modulated.amax(0)
        logs = modulated.clamp_min_(self.floor).log_()
        differences = self._differences.like(logs) @ logs
        return newton_step(differences[:2], differences[2:])
