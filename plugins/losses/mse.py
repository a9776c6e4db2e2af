"""Mean squared error of heatmaps over the keypoints that are labelled."""

from mmpose.models.losses import KeypointMSELoss

from plugins.registry import LOSSES


@LOSSES.register_module("mse")
class LabelledMSELoss(KeypointMSELoss):
    """MMPose's loss, which leaves keypoints of weight 0 out."""

    def __init__(self) -> None:
        super().__init__(use_target_weight=True)
