"""From uint8 crops to what the network reads, on the training device."""

import torch
from mmengine.model import BaseDataPreprocessor
from mmpose.registry import MODELS
from torch import Tensor

from plugins.datasets.crop_store import CropGeometry
from plugins.datasets.keypoint_sets import KeypointSet
from plugins.datasets.warp import change_colours, warp

MEAN = (123.675, 116.28, 103.53)
"""ImageNet's mean colour in grey levels (RGB), as MMPose normalises."""
DEVIATION = (58.395, 57.12, 57.375)


@MODELS.register_module()
class CropPreprocessor(BaseDataPreprocessor):
    """Augments the pixels of ``TrainingCrops``'s batches and normalises their colours.

    Args:
        geometry: of the crops.
        keypoint_set: what is left and right, for the flip test.
    """

    def __init__(self, geometry: CropGeometry, keypoint_set: KeypointSet) -> None:
        super().__init__(non_blocking=True)
        self.geometry, self.keypoint_set = geometry, keypoint_set
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(3, 1, 1), False)

    def forward(self, data: dict[str, Tensor], training: bool = False) -> dict:
        """Give ``inputs (B, 3, h, w)`` and as ``data_samples`` the persons' keypoints.

        In float32, whatever the network's autocast: bfloat16 has whole pixels only.
        """
        data = self.cast_data(data)
        with torch.autocast(data["crops"].device.type, enabled=False):
            inputs = self.normalise(self.augment(data))
        samples = {"keypoints": data["keypoints"], "visible": data["visible"]}
        return {"inputs": inputs, "data_samples": samples}

    def augment(self, data: dict[str, Tensor]) -> Tensor:
        """Grey levels ``(B, 3, h, w)`` of the augmented inputs."""
        crops = data["crops"].permute(0, 3, 1, 2)
        images = warp(crops, data["affines"], self.geometry)
        if "colours" in data:
            images = change_colours(images, data["colours"])
        return images

    def normalise(self, images: Tensor) -> Tensor:
        """Grey levels ``(B, 3, h, w)`` -> the network's inputs, contiguous.

        Convolutions take to the layout of their input or of their weights if either
        has its channels last, so that the weights decide (schedule.channels_last).
        """
        return ((images - self.mean) / self.deviation).contiguous()
