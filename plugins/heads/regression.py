"""Regression of coordinates, with or without their uncertainty (RLE's sigmas)."""

import torch
from mmpose.registry import MODELS
from torch import Tensor, nn

from plugins.codecs.common.codec import Outputs
from plugins.heads.common.batched import BatchedHead
from plugins.registry import HEADS


@HEADS.register_module("regression")
@MODELS.register_module()
class BatchedRegressionHead(BatchedHead):
    """Means of all branches' maps, and one linear layer.

    HRNet's finest map alone has as few channels as there are keypoints; only what the
    coarser branches know survives a mean over the map.

    Args:
        sigmas: also give ``sigmas (N, K, 2)``, before the sigmoid.
        in_channels, out_channels, codec, loss, auxiliary: see ``BatchedHeatmapHead``.
        deconvolution: not used, regression reads strided maps.
    """

    def __init__(
        self,
        in_channels: list[int],
        out_channels: int,
        deconvolution: list[int] | None,
        codec: dict,
        loss: dict,
        auxiliary: dict,
        sigmas: bool = False,
    ) -> None:
        super().__init__()
        self.names = ("keypoints", "sigmas") if sigmas else ("keypoints",)
        self.keypoints = out_channels
        numbers = out_channels * 2 * len(self.names)
        self.linear = nn.Linear(sum(in_channels), numbers)
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)
        self.add_codec_and_losses(codec, loss, auxiliary)

    @staticmethod
    def reads() -> str:
        """Every branch."""
        return "all"

    def forward(self, feats: tuple[Tensor, ...]) -> Outputs:
        """``keypoints (N, K, 2)``, 0 at the centre of the input, and ``sigmas``."""
        means = torch.cat([feature.mean((-2, -1)) for feature in feats], -1)
        numbers = self.linear(means).view(len(means), len(self.names), -1, 2)
        return dict(zip(self.names, numbers.unbind(1), strict=True))
