"""Layers that give maps of exactly input / 4."""

import torch
from mmpose.models.heads import HeatmapHead
from torch import Tensor


class MapLayers(HeatmapHead):
    """MMPose's upsampling and 1x1 convolution, cut to the heatmap's size.

    Strided backbones round halves up (a 48-pixel side has 2 cells at stride 32), so
    that deconvolution gives up to half as many cells again as the heatmap has. They
    are aligned at the top left; the surplus at the right and bottom is cut.

    Args:
        in_channels: channels of the feature map.
        out_channels: maps; None: the features themselves.
        size: of the maps ``(w, h)`` in cells.
        deconvolution: output channels of each upsampling layer; none for HRNet.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int | None,
        size: tuple[int, int],
        deconvolution: list[int] | None,
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            out_channels=out_channels or 1,
            deconv_out_channels=deconvolution,
            deconv_kernel_sizes=deconvolution and [4] * len(deconvolution),
            final_layer=dict(kernel_size=1) if out_channels else None,
            # Its own loss is not used, and once a Runner exists cannot be found.
            loss=dict(type=torch.nn.Identity),
        )
        self.size = size

    def forward(self, features: Tensor) -> Tensor:
        """``(N, C, ...)`` -> ``(N, out_channels, h, w)``."""
        width, height = self.size
        return super().forward((features,))[..., :height, :width]
