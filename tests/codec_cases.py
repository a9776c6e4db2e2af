"""Joints, perfect network outputs and MMPose's codecs, for the tests of the codecs."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from mmpose.codecs import MSRAHeatmap, UDPHeatmap

from plugins.codecs.common.codec import Codec, Outputs
from plugins.registry import CODECS
from plugins.sizes import heatmap_size

NAMES = tuple(sorted(CODECS.module_dict))
OFFSETS = ("cal", "udp_offset")
PLAIN = ("argmax", "dark", "msra", "quadfit", "udp")
SIZES = ("32x24", "64x48", "128x96", "256x192")
RELEASED = {"radius_factor": 0.0546875, "kernel": 11}
"""UDP's combined form as MMPose has it."""
JOINTS = 17
MAPS = (*PLAIN, *OFFSETS, "integral")
SIZE = (48, 64)
FLIP = [0, *(i + 1 if i % 2 else i - 1 for i in range(1, JOINTS))]
VARIANTS = [
    *((name, {}) for name in NAMES),
    ("udp_offset", RELEASED),
    ("simcc", {"target": "one_hot", "split": 3}),
    ("cal", {"unit": 1.5, "radius": 2.5}),
    *((name, {"transform": "legacy"}) for name in PLAIN),
]
"""Every codec, and those of its settings that take another way through its code."""
NAN, INF = float("nan"), float("inf")


def parametrize_variants(
    wanted: Callable[[str, dict], bool] = lambda name, settings: True,
) -> pytest.MarkDecorator:
    """Run a test with the ``name`` and ``settings`` of all variants that are wanted."""
    cases = [case for case in VARIANTS if wanted(*case)]
    return pytest.mark.parametrize(("name", "settings"), cases, ids=str)


def uniform_joints(
    size: tuple[int, int], persons: int, margin: float = 0.0
) -> torch.Tensor:
    """Joints ``(persons, 17, 2)`` over the whole input, its borders included."""
    generator = torch.Generator().manual_seed(0)
    unit = torch.rand(persons, JOINTS, 2, dtype=torch.float64, generator=generator)
    return unit * (torch.tensor(size) - 1 - 2 * margin) + margin


def encode_all(codec: Codec, joints: torch.Tensor) -> Outputs:
    """Targets of joints that are all labelled."""
    return codec.encode_batch(joints, torch.ones(joints.shape[:2]))


def as_outputs(codec: Codec, target: Outputs) -> Outputs:
    """What a network would have to give to be right: logits, maps or coordinates."""
    match codec.produces:
        case "bins":
            return {axis: target[axis].log().float() for axis in "xy"}
        case "logits":
            return {"heatmaps": target["heatmaps"].log().float()}
        case "coordinates":
            return {"keypoints": codec.to_normalised(target["keypoints"]).float()}
    maps = {"heatmaps": target["heatmaps"].float()}
    if "offsets" in target:
        maps["offsets"] = target["offsets"].float()
    return maps


def perfect_outputs(codec: Codec, joints: torch.Tensor) -> Outputs:
    """What a perfect network gives for joints ``(N, K, 2)`` in input pixels."""
    return as_outputs(codec, encode_all(codec, joints))


def noisy_outputs(codec: Codec, joints: torch.Tensor, noise: float = 0.1) -> Outputs:
    """Perfect outputs with uniform noise of this amplitude."""
    generator = torch.Generator().manual_seed(1)
    outputs = {}
    for name, values in perfect_outputs(codec, joints).items():
        # Logits of a target hold -inf where float32 underflows, a network's do not.
        unit = torch.rand(values.shape, generator=generator)
        outputs[name] = values.clamp_min(-50) + noise * unit
    return outputs


def mmpose_codec(name: str, size: tuple[int, int], sigma: float, kernel: int):
    """MMPose's codec of the same name."""
    cells = heatmap_size(size)
    if name == "udp":
        return UDPHeatmap(size, cells, sigma=sigma, blur_kernel_size=kernel)
    unbiased = name == "dark"
    return MSRAHeatmap(size, cells, sigma, unbiased=unbiased, blur_kernel_size=kernel)


def unit_lengths(keypoints: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """MMPose's UDP decodes to ``k * w / (w - 1)``, for its own warp to undo."""
    return keypoints * (np.array(size) - 1) / size


def argmax_cells(heatmaps: np.ndarray) -> np.ndarray:
    """Largest cells ``(..., 2)`` (x, y) of maps ``(..., h, w)``."""
    width = heatmaps.shape[-1]
    index = heatmaps.reshape(*heatmaps.shape[:-2], -1).argmax(-1)
    return np.stack((index % width, index // width), -1)
