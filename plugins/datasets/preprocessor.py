"""From uint8 crops to what the network reads, on the training device."""

import torch
from mmengine.model import BaseDataPreprocessor
from mmpose.registry import MODELS
from torch import Tensor

from plugins.datasets.augment import (
    AugmentSettings,
    change_colours,
    sample_affines,
    transform_keypoints,
    warp,
)
from plugins.datasets.crop_store import CropGeometry
from plugins.datasets.keypoint_sets import KeypointSet

MEAN = (123.675, 116.28, 103.53)
"""ImageNet's mean colour in grey levels (RGB), as MMPose normalises."""
DEVIATION = (58.395, 57.12, 57.375)


@MODELS.register_module()
class CropPreprocessor(BaseDataPreprocessor):
    """Augments batches of ``TrainingCrops`` and normalises their colours.

    Args:
        geometry: of the crops.
        augment: fields of ``AugmentSettings``.
        keypoint_set: what is left, right and lower body.
    """

    def __init__(
        self, geometry: CropGeometry, augment: dict, keypoint_set: KeypointSet
    ) -> None:
        super().__init__(non_blocking=True)
        self.geometry, self.keypoint_set = geometry, keypoint_set
        self.settings = AugmentSettings(**augment)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(3, 1, 1), False)

    def forward(self, data: dict[str, Tensor], training: bool = False) -> dict:
        """Give ``inputs (B, 3, h, w)`` and as ``data_samples`` the moved keypoints.

        In float32, whatever the network's autocast: bfloat16 has whole pixels only.
        """
        data = self.cast_data(data)
        with torch.autocast(data["crops"].device.type, enabled=False):
            return self._augment(data)

    def _augment(self, data: dict[str, Tensor]) -> dict:
        keypoints, visible = data["keypoints"], data["visible"]
        affines, flipped = sample_affines(
            data["draws"],
            keypoints,
            visible,
            data["box"],
            self.keypoint_set.lower_body,
            self.geometry,
            self.settings,
        )
        crops = data["crops"].permute(0, 3, 1, 2).float()
        images = warp(crops, affines, self.geometry)
        if self.settings.colours:
            images = change_colours(images, data["draws"], self.settings)
        inputs = self.normalise(images)
        keypoints, visible = transform_keypoints(
            affines, flipped, keypoints, visible, self.keypoint_set.flip_indices
        )
        samples = {"keypoints": keypoints, "visible": visible}
        return {"inputs": inputs, "data_samples": samples}

    def normalise(self, images: Tensor) -> Tensor:
        """Grey levels ``(B, 3, h, w)`` -> the network's inputs, contiguous.

        Convolutions take to the layout of their input or of their weights if either
        has its channels last, so that the weights decide (schedule.channels_last).
        """
        return ((images - self.mean) / self.deviation).contiguous()
