"""SimpleBaseline's ResNet (Xiao et al., ECCV 2018), as MMPose has it.

Its strides round halves up; the head cuts the heatmap to exactly input / 4.
"""

from mmpose.models.backbones import ResNet
from mmpose.registry import MODELS

from plugins.registry import BACKBONES


@BACKBONES.register_module("resnet")
@MODELS.register_module()
class StridedResNet(ResNet):
    """MMPose's ResNet, whose last map is all that any head reads.

    Args:
        depth: 18, 34, 50, ...
        input_size, features: what other backbones need to know.
    """

    def __init__(
        self,
        depth: int,
        input_size: tuple[int, int] | None = None,
        features: str = "finest",
        init_cfg: dict | list | None = None,
    ) -> None:
        published = dict() if init_cfg is None else dict(init_cfg=init_cfg)
        super().__init__(depth=depth, **published)

    @staticmethod
    def channels(network: dict, features: str) -> list[int]:
        """Channels of the one map, at stride 32."""
        return [512 if network["depth"] < 50 else 2048]
