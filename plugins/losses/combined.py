"""UDP's loss of a disc map and its offsets (arXiv 1911.07524)."""

from torch import Tensor, nn

from plugins.codecs.common.codec import Codec, Outputs
from plugins.registry import LOSSES


@LOSSES.register_module("combined")
class CombinedLoss(nn.Module):
    """Half the squared error of the map, and of each offset inside the disc.

    MMPose's ``CombinedTargetMSELoss``: means over all cells of all maps.
    """

    terms = ("heatmap", "offset")
    bounded = True

    def forward(
        self, outputs: Outputs, target: Outputs, codec: Codec
    ) -> dict[str, Tensor]:
        """Both terms; keypoints of weight 0 count with no error."""
        weights = target["weights"][..., None, None]
        heatmap = (outputs["heatmaps"] - target["heatmaps"]) * weights
        offset = (outputs["offsets"] - target["offsets"]) * target["mask"][:, :, None]
        return {
            "heatmap": 0.5 * heatmap.square().mean(),
            "offset": 0.5 * offset.square().sum(2).mean(),
        }
