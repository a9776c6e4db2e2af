"""Losses of coordinates: regression's, IPR's and DSNT's."""

import torch.nn.functional as F
from torch import Tensor, nn

from plugins.codecs.common.codec import Codec, Outputs
from plugins.losses.common.masked import masked_mean
from plugins.registry import LOSSES

NORMS = {
    "l1": F.l1_loss,
    "l2": F.mse_loss,
}


@LOSSES.register_module("coordinates")
class CoordinateLoss(nn.Module):
    """Error of the codec's differentiable decode, on coordinates in (-0.5, 0.5).

    Args:
        norm: ``l1`` or ``l2`` (squared).
        divergence: weight of the Jensen-Shannon divergence between the softmax and a
            Gaussian around the keypoint (DSNT, arXiv 1801.07372, equation 13); 0: IPR.
    """

    bounded = True

    def __init__(self, norm: str, divergence: float = 0.0) -> None:
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"norm {norm!r}: expected one of {', '.join(NORMS)}")
        self.norm, self.divergence = NORMS[norm], divergence
        self.terms = ("coordinates", "divergence") if divergence else ("coordinates",)

    def forward(
        self, outputs: Outputs, target: Outputs, codec: Codec
    ) -> dict[str, Tensor]:
        """Means over the keypoints that are learnt."""
        weights, keypoints = target["weights"], target["keypoints"]
        last = codec.last_pixel(keypoints)
        found = codec.soft_decode(outputs) / last
        error = self.norm(found, keypoints / last, reduction="none").sum(-1)
        terms = {"coordinates": masked_mean(error, weights)}
        if self.divergence:
            found = codec.distribution(outputs["heatmaps"])
            values = jensen_shannon(found, target["heatmaps"])
            terms["divergence"] = self.divergence * masked_mean(values, weights)
        return terms


def jensen_shannon(first: Tensor, second: Tensor) -> Tensor:
    """Divergence ``(N, K)`` in nats between distributions ``(N, K, h, w)``."""
    middle = (first + second) / 2

    def kullback_leibler(p: Tensor) -> Tensor:
        ratio = p.clamp_min(1e-24).log() - middle.clamp_min(1e-24).log()
        return (p * ratio).sum((-2, -1))

    return (kullback_leibler(first) + kullback_leibler(second)) / 2
