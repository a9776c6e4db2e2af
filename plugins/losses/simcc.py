"""SimCC's loss (arXiv 2107.03332): divergence of the bins' softmax from the target."""

import torch
from torch import Tensor, nn

from plugins.codecs.common.codec import Codec, Outputs
from plugins.losses.common.masked import masked_mean
from plugins.registry import LOSSES


@LOSSES.register_module("simcc")
class SimCCLoss(nn.Module):
    """Kullback-Leibler divergence, summed over the two axes, in nats."""

    terms = ("bins",)
    bounded = True

    def forward(
        self, outputs: Outputs, target: Outputs, codec: Codec
    ) -> dict[str, Tensor]:
        """Mean over the keypoints that are learnt."""
        total = 0.0
        for name in "xy":
            expected = target[name]
            difference = torch.xlogy(expected, expected)
            difference = difference - expected * outputs[name].log_softmax(-1)
            total = total + difference.sum(-1)
        return {"bins": masked_mean(total, target["weights"])}
