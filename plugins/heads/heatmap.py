"""Heatmap head: MMPose's layers, batched targets, heatmaps of exactly input / 4."""

from mmpose.models.heads import HeatmapHead
from mmpose.registry import MODELS
from torch import Tensor

import plugins.losses  # noqa: F401  (registers what the head is told to use)
from plugins.codecs import build_codec
from plugins.registry import HEADS, LOSSES, typed


@HEADS.register_module("heatmap")
@MODELS.register_module()
class BatchedHeatmapHead(HeatmapHead):
    """MMPose's ``HeatmapHead`` that computes the targets of a whole batch at once.

    Strided backbones round halves up (a 48-pixel side has 2 cells at stride 32), so
    that deconvolution gives up to half as many cells again as the heatmap has. They
    are aligned at the top left; the surplus at the right and bottom is cut.

    Args:
        in_channels: channels of the last feature map.
        out_channels: keypoints.
        codec: ``{"name", "input_size", ...}`` for ``build_codec``.
        deconv_out_channels: channels of each upsampling layer; none for HRNet.
        loss: ``{"name", ...}`` of a loss that takes ``(predicted, target, weights)``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        codec: dict,
        deconv_out_channels: list[int] | None,
        loss: dict,
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            out_channels=out_channels,
            deconv_out_channels=deconv_out_channels,
            deconv_kernel_sizes=deconv_out_channels and [4] * len(deconv_out_channels),
            loss=typed(LOSSES, loss),
        )
        self.codec = build_codec(**codec)

    def forward(self, feats: tuple[Tensor]) -> Tensor:
        """Heatmaps ``(N, K, h, w)`` of the codec's size."""
        width, height = self.codec.heatmap_size
        return super().forward(feats)[..., :height, :width]

    def loss(self, feats: tuple[Tensor], batch: dict, train_cfg: dict) -> dict:
        """Loss of a batch: ``keypoints (N, K, 2)`` in input px, ``visible (N, K)``."""
        target = self.codec.encode_batch(batch["keypoints"], batch["visible"])
        heatmaps = self.forward(feats)
        loss = self.loss_module(
            heatmaps, target["heatmaps"].to(heatmaps), target["weights"].to(heatmaps)
        )
        return {"loss_heatmap": loss}

    @staticmethod
    def average_flipped(
        heatmaps: Tensor, flipped: Tensor, flip_indices: list[int]
    ) -> Tensor:
        """Mean of the heatmaps of an image and of its mirror image (flip test).

        With unit lengths the mirrored map needs no shift (UDP, arXiv 1911.07524).
        """
        return (heatmaps + flipped.flip(-1)[:, flip_indices]) / 2
