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
    head = typed(HEADS, method["head"])
    trunk = dict(trunk=head["trunk"]) if "trunk" in head else {}
    features = head["type"].reads(**trunk)
    network = typed(BACKBONES, backbone["network"])
    network |= dict(input_size=geometry.input_size, features=features)
    codec = dict(method["codec"], input_size=geometry.input_size)
    head |= dict(
        in_channels=network["type"].channels(network, features),
        deconvolution=backbone["deconvolution"],
        out_channels=keypoints,
        codec=codec | dict(transform=settings["transform"]),
        loss=method["loss"],
        auxiliary=settings["auxiliary"],
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
