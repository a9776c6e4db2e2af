"""The oracle error of MMPose's own codecs, one call per handful of joints."""

import numpy as np
from mmpose.codecs import MSRAHeatmap, SimCCLabel, UDPHeatmap
from mmpose.codecs.base import BaseKeypointCodec

from plugins.codecs.common.couplings import derive_bin_sigma
from plugins.sizes import STRIDE, heatmap_size, parse_size
from stages.compare.codec_report.oracle import Oracle, describe, sample_joints

CHUNK = 500
"""Joints at a time, as the keypoints of one person."""
LARGE = (192, 256)
COMBINED = {"radius_factor": 0.0546875, "blur_kernel_size": 11}
"""As released: at every size."""


def build_stock(name: str, size: tuple[int, int]) -> tuple[BaseKeypointCodec, dict]:
    """MMPose's counterpart of one of plugins/codecs, and its settings.

    Sigma and kernel of Gaussians are those of its configs for 256x192; below that
    DarkPose's for small inputs.
    """
    cells = heatmap_size(size)
    sigma, kernel = (2.0, 11) if size == LARGE else (1.0, 3)
    if name == "simcc":
        sigmas = tuple(derive_bin_sigma(side) for side in size)
        return SimCCLabel(size, sigma=sigmas, simcc_split_ratio=2.0), {"split": 2}
    if name == "udp_offset":
        return UDPHeatmap(size, cells, heatmap_type="combined", **COMBINED), COMBINED
    settings = {"sigma": sigma, "blur_kernel_size": kernel}
    if name == "udp":
        return UDPHeatmap(size, cells, **settings), settings
    return MSRAHeatmap(size, cells, unbiased=name == "dark", **settings), settings


def measure_stock(name: str, size: str, least: int) -> Oracle:
    """As `measure_ours`, in the transform that MMPose's configs use the codec with."""
    input_size = np.array(parse_size(size))
    codec, settings = build_stock(name, parse_size(size))
    joints = sample_joints(size, least)
    decoded, blank = [], []
    for start in range(0, len(joints), CHUNK):
        found, empty = _round_trip(codec, joints[start : start + CHUNK])
        decoded.append(found)
        blank.append(empty)
    found = np.concatenate(decoded)
    if isinstance(codec, UDPHeatmap):
        # It decodes to k w / (w - 1), which its own warp undoes.
        found = found * (input_size - 1) / input_size
    return Oracle(
        codec=name,
        implementation="mmpose",
        size=size,
        settings=describe(settings),
        joints=joints,
        errors=found - joints,
        cell=np.broadcast_to(getattr(codec, "scale_factor", STRIDE), 2),
        blank=float(np.concatenate(blank).mean()),
    )


def _round_trip(
    codec: BaseKeypointCodec, joints: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Decoded joints ``(N, 2)`` in input px, and whose target is empty ``(N,)``."""
    target = codec.encode(joints[None])
    if isinstance(codec, SimCCLabel):
        bins = target["keypoint_x_labels"], target["keypoint_y_labels"]
        return codec.decode(*bins)[0][0], np.zeros(len(joints), bool)
    maps = target["heatmaps"]
    if len(maps) == 3 * len(joints):
        # Its offsets fill the map, but are learnt in the disc alone.
        disc = maps[::3]
        maps[1::3] *= disc
        maps[2::3] *= disc
        return codec.decode(maps)[0][0], ~disc.any((1, 2))
    return codec.decode(maps)[0][0], ~maps.any((1, 2))
