"""Heatmap head: MMPose's layers, one map per keypoint."""

from mmpose.registry import MODELS
from torch import Tensor

from plugins.codecs.common.codec import Outputs
from plugins.heads.common.batched import BatchedHead
from plugins.heads.common.maps import MapLayers
from plugins.registry import HEADS
from plugins.sizes import heatmap_size


@HEADS.register_module("heatmap")
@MODELS.register_module()
class BatchedHeatmapHead(BatchedHead):
    """One map per keypoint: heatmaps, or logits for integral regression.

    Args:
        in_channels: channels of each feature map of the backbone.
        out_channels: keypoints.
        deconvolution: channels of each upsampling layer; none for HRNet.
        codec, loss, auxiliary: see ``BatchedHead``.
    """

    def __init__(
        self,
        in_channels: list[int],
        out_channels: int,
        deconvolution: list[int] | None,
        codec: dict,
        loss: dict,
        auxiliary: dict,
    ) -> None:
        super().__init__()
        size = heatmap_size(codec["input_size"])
        self.maps = MapLayers(in_channels[0], out_channels, size, deconvolution)
        self.add_codec_and_losses(codec, loss, auxiliary)

    def forward(self, feats: tuple[Tensor, ...]) -> Outputs:
        """``heatmaps (N, K, h, w)``."""
        return {"heatmaps": self.maps(feats[0])}
