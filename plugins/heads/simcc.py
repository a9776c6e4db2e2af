"""SimCC's head (arXiv 2107.03332): each keypoint's map as a vector, two classifiers."""

from mmpose.registry import MODELS
from torch import Tensor, nn

from plugins.codecs.common.codec import Outputs
from plugins.heads.common.batched import BatchedHead
from plugins.heads.common.maps import MapLayers
from plugins.registry import HEADS
from plugins.sizes import heatmap_size


@HEADS.register_module("simcc")
@MODELS.register_module()
class BatchedSimCCHead(BatchedHead):
    """One map per keypoint, flattened, and a linear layer for each axis' bins.

    Args: see ``BatchedHeatmapHead``.
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
        width, height = size = heatmap_size(codec["input_size"])
        self.maps = MapLayers(in_channels[0], out_channels, size, deconvolution)
        self.add_codec_and_losses(codec, loss, auxiliary)
        self.x, self.y = (nn.Linear(width * height, n) for n in self.codec.bins)

    def forward(self, feats: tuple[Tensor, ...]) -> Outputs:
        """Logits ``x (N, K, Bx)`` and ``y (N, K, By)``."""
        vectors = self.maps(feats[0]).flatten(-2)
        return {"x": self.x(vectors), "y": self.y(vectors)}
