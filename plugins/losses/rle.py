"""Residual log-likelihood estimation (Li et al., ICCV 2021, arXiv 2107.11291)."""

import torch
from torch import Tensor, nn

from plugins.codecs.common.codec import Codec, Outputs
from plugins.losses.common.flow import Flow
from plugins.losses.common.masked import masked_mean
from plugins.registry import LOSSES

SMALLEST_SIGMA = 1e-3
"""Of the normalised coordinates; below, an outlier's residual overflows the flow."""
LARGEST_RESIDUAL = 1e3


@LOSSES.register_module("rle")
class RLELoss(nn.Module):
    """``log sigma - log flow(residual)``, plus the Laplacian's (the paper's eq. 10).

    As MMPose's ``RLELoss`` with ``residual=True``, but only residuals of labelled
    keypoints enter the flow, whose gradient would otherwise be NaN for a masked
    outlier. Its value is a log density: negative ones are normal, there is no bound.
    """

    terms = ("rle",)
    bounded = False

    def __init__(self) -> None:
        super().__init__()
        self.flow = Flow()

    def forward(
        self, outputs: Outputs, target: Outputs, codec: Codec
    ) -> dict[str, Tensor]:
        """Mean over the keypoints that are learnt, summed over x and y."""
        known = target["weights"] > 0
        truth = codec.to_normalised(target["keypoints"])
        truth = torch.where(known[..., None], truth, 0.0)
        found = torch.where(known[..., None], outputs["keypoints"], 0.0)
        sigma = outputs["sigmas"].sigmoid().clamp_min(SMALLEST_SIGMA)
        residual = (found - truth) / sigma
        residual = residual.clamp(-LARGEST_RESIDUAL, LARGEST_RESIDUAL)
        log_flow = self.flow.log_prob(residual.flatten(0, -2)).view(known.shape)
        log_sigma = sigma.log()
        laplacian = (2 * sigma).log() + residual.abs()
        values = (log_sigma + laplacian).sum(-1) - 2 * log_flow
        return {"rle": masked_mean(values, target["weights"])}
