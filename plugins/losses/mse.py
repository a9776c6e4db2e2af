"""Mean squared error of heatmaps over the keypoints that are labelled."""

from mmpose.models.losses import KeypointMSELoss
from torch import Tensor, nn

from plugins.codecs.common.codec import Codec, Outputs
from plugins.registry import LOSSES


@LOSSES.register_module("mse")
class HeatmapMSELoss(nn.Module):
    """MMPose's loss, which leaves keypoints of weight 0 out."""

    terms = ("heatmap",)
    bounded = True

    def __init__(self) -> None:
        super().__init__()
        self.squares = KeypointMSELoss(use_target_weight=True)

    def forward(
        self, outputs: Outputs, target: Outputs, codec: Codec
    ) -> dict[str, Tensor]:
        """Mean over all cells of all maps."""
        heatmaps = outputs["heatmaps"], target["heatmaps"], target["weights"]
        return {"heatmap": self.squares(*heatmaps)}
