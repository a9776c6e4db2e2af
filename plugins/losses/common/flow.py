"""RLE's normalising flow, without waiting for the device."""

import math

from mmpose.models.utils.realnvp import RealNVP
from torch import Tensor


class Flow(RealNVP):
    """MMPose's RealNVP over ``(B, 2)``; its prior is the standard normal density.

    MMPose builds that density anew in every call, and ``torch.distributions`` checks
    it: three waits for the device per step.
    """

    def log_prob(self, points: Tensor) -> Tensor:
        """Log density ``(B,)``."""
        z, log_determinant = self.backward_p(points)
        return log_determinant - z.square().sum(-1) / 2 - math.log(2 * math.pi)
