"""Build a cell's model: MMPose's top-down estimator of our codec, head, backbone."""

from mmpose.models.pose_estimators import TopdownPoseEstimator
from mmpose.registry import MODELS

import plugins.backbones
import plugins.heads
import plugins.losses  # noqa: F401  (each registers what it holds)
from plugins.datasets.crop_store import CropGeometry
from plugins.datasets.preprocessor import CropPreprocessor
from plugins.registry import BACKBONES, HEADS, typed


def build_model(
    settings: dict, keypoints: int, geometry: CropGeometry
) -> TopdownPoseEstimator:
    """Build the estimator of a cell.

    Args:
        settings: a cell's ``train`` settings, as in params.yaml.
        keypoints: number of keypoints.
        geometry: of the crop store that it reads.
    """
    backbone, method = settings["backbone"], settings["method"]
    network = typed(BACKBONES, backbone["network"])
    if "input_size" in network:
        network["input_size"] = geometry.input_size
    head = typed(HEADS, method["head"]) | dict(
        in_channels=backbone["channels"],
        deconv_out_channels=backbone["deconvolution"],
        out_channels=keypoints,
        codec=dict(method["codec"], input_size=geometry.input_size),
        loss=method["loss"],
    )
    preprocessor = dict(
        type=CropPreprocessor, geometry=geometry, augment=settings["augment"]
    )
    return MODELS.build(
        dict(
            type=TopdownPoseEstimator,
            backbone=network,
            head=head,
            data_preprocessor=preprocessor,
        )
    )
