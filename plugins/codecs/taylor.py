"""Decoding by a Taylor expansion of the log heatmap: what DARK and UDP share."""

from torch import Tensor

from plugins.codecs.base import HeatmapCodec
from plugins.codecs.couplings import derive_kernel
from plugins.codecs.gaussian import blur_patches, log_patches, newton_step

FLOOR = 1e-10
"""Smallest heatmap value whose logarithm is taken (MMPose's)."""


class TaylorCodec(HeatmapCodec):
    """Modulate, take the logarithm, and go to the maximum of its Taylor expansion.

    Works on a patch around the peak. Where the patch leaves the map it continues the
    Gaussian, so border cells are refined like all others (MMPose leaves them: 27 % of
    the cells at 128x96, half of them at 64x48).

    Args:
        input_size: input ``(w, h)`` in pixels.
        sigma: of the target in heatmap cells; derived from the size by default.
        kernel: taps of the modulating blur; derived from sigma by default.
    """

    reach: int
    """Cells that the differences reach from the peak."""
    floor: float
    """Smallest modulated value whose logarithm is taken."""

    def __init__(
        self,
        input_size: tuple[int, int],
        sigma: float | None = None,
        kernel: int | None = None,
    ) -> None:
        super().__init__(input_size, sigma)
        self.kernel = derive_kernel(self.sigma) if kernel is None else int(kernel)
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"kernel {kernel}: expected an odd number of taps")

    def refine(self, heatmaps: Tensor, peaks: Tensor) -> Tensor:
        """Newton step on the modulated log heatmap."""
        radius = self.reach + self.kernel // 2
        logs = log_patches(heatmaps, peaks, radius, self.sigma, FLOOR)
        modulated = blur_patches(logs.exp(), self.kernel)
        gradient, hessian = self.differences(modulated.clamp_min(self.floor).log())
        return newton_step(gradient, hessian)

    def differences(self, logs: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient ``(N, K, 2)`` and Hessian ``(N, K, 3)`` = (xx, xy, yy) there.

        Args:
            logs: ``(N, K, 2 reach + 1, 2 reach + 1)``.
        """
        raise NotImplementedError
