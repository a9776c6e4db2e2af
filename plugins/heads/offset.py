"""Heatmap and offset head: CAL's two branches (arXiv 2109.09090), or UDP's one."""

from mmengine.model import Sequential
from mmpose.models.backbones.resnet import BasicBlock
from mmpose.registry import MODELS
from torch import Tensor, nn

from plugins.codecs.common.codec import Outputs
from plugins.heads.common.batched import BatchedHead
from plugins.heads.common.maps import MapLayers
from plugins.registry import HEADS
from plugins.sizes import heatmap_size

TRUNKS = ("split", "shared")


@HEADS.register_module("offset")
@MODELS.register_module()
class BatchedOffsetHead(BatchedHead):
    """One map per keypoint and two offset maps, each from its own branch.

    Args:
        trunk: ``split``: each branch reads a last stage of its own (a second stage 4 of
            HRNet as in CAL; deconvolutions of its own on ResNet). ``shared``: both read
            the same features.
        blocks: basic blocks of each branch before its 1x1 convolution (CAL: 2).
        in_channels, out_channels, deconvolution, codec, loss, auxiliary: see
            ``BatchedHeatmapHead``.
    """

    def __init__(
        self,
        in_channels: list[int],
        out_channels: int,
        deconvolution: list[int] | None,
        codec: dict,
        loss: dict,
        auxiliary: dict,
        trunk: str = "split",
        blocks: int = 2,
    ) -> None:
        super().__init__()
        if trunk not in TRUNKS:
            raise ValueError(f"trunk {trunk!r}: expected one of {', '.join(TRUNKS)}")
        size = heatmap_size(codec["input_size"])
        shared = deconvolution if trunk == "shared" else None
        own = deconvolution if trunk == "split" else None
        channels = in_channels[0]
        self.upsampling = nn.Identity()
        if shared:
            self.upsampling = MapLayers(channels, None, size, shared)
            channels = shared[-1]

        def branch(maps: int) -> Sequential:
            layers, width = [], channels
            if own:
                layers.append(MapLayers(channels, None, size, own))
                width = own[-1]
            layers += [BasicBlock(width, width) for _ in range(blocks)]
            return Sequential(*layers, MapLayers(width, maps, size, None))

        self.heatmaps = branch(out_channels)
        self.offsets = branch(2 * out_channels)
        self.add_codec_and_losses(codec, loss, auxiliary)

    @staticmethod
    def reads(trunk: str = "split") -> str:
        """A map for each branch if split."""
        return "two" if trunk == "split" else "finest"

    def forward(self, feats: tuple[Tensor, ...]) -> Outputs:
        """``heatmaps (N, K, h, w)`` and ``offsets (N, K, 2, h, w)``."""
        features = [self.upsampling(feature) for feature in feats]
        offsets = self.offsets(features[-1])
        return {
            "heatmaps": self.heatmaps(features[0]),
            "offsets": offsets.unflatten(1, (-1, 2)),
        }
