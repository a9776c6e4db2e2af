"""SimpleBaseline's ResNet (Xiao et al., ECCV 2018), as MMPose has it.

Its strides round halves up; the head cuts the heatmap to exactly input / 4.
"""

from mmpose.models.backbones import ResNet

from plugins.registry import BACKBONES

BACKBONES.register_module("resnet", module=ResNet)
