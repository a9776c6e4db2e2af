"""Build a cell's model: MMPose's top-down estimator of our codec, head, backbone."""

from mmpose.models.pose_estimators import TopdownPoseEstimator
from mmpose.registry import MODELS

import plugins.backbones
import plugins.heads
import plugins.losses  # noqa: F401  (each registers what it holds)
from plugins.datasets.crop_store import CropGeometry
from plugins.datasets.keypoint_sets import KeypointSet
from plugins.datasets.preprocessor import CropPreprocessor
from plugins.registry import BACKBONES, HEADS, typed


def build_model(
    settings: dict, keypoint_set: KeypointSet, geometry: CropGeometry
) -> TopdownPoseEstimator:
    """Build the estimator of a cell.

    Args:
        settings: a cell's ``train`` settings, as in params.yaml.
        keypoint_set: of the crop store that it reads.
        geometry: of the same.
    """
    backbone, method = settings["backbone"], settings["method"]
    head = typed(HEADS, method["head"])
    trunk = dict(trunk=head["trunk"]) if "trunk" in head else {}
    features = head["type"].reads(**trunk)
    network = typed(BACKBONES, backbone["network"])
    network |= dict(input_size=geometry.input_size, features=features)
    auxiliary = dict(settings["auxiliary"])
    if auxiliary["name"] != "none":
        auxiliary["keypoint_set"] = keypoint_set
    codec = dict(method["codec"], input_size=geometry.input_size)
    head |= dict(
        in_channels=network["type"].channels(network, features),
        deconvolution=backbone["deconvolution"],
        out_channels=len(keypoint_set),
        codec=codec | dict(transform=settings["transform"]),
        loss=method["loss"],
        auxiliary=auxiliary,
    )
    preprocessor = dict(
        type=CropPreprocessor,
        geometry=geometry,
        keypoint_set=keypoint_set,
    )
    return MODELS.build(
        dict(
            type=TopdownPoseEstimator,
            backbone=network,
            head=head,
            data_preprocessor=preprocessor,
        )
    )
