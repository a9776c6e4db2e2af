"""HRNet's augmentation for a whole batch: one affine and one warp per person.

Flip, half body, rotation and scale of HRNet's released code (Sun et al., CVPR 2019,
``lib/dataset/JointsDataset.py``), drawn by inverting the distribution functions so that
each needs exactly one uniform number.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from plugins.datasets.batches import DRAWS
from plugins.datasets.crop_store import CropGeometry

HALF_BODY_PADDING = 1.5
"""Box of a half body, relative to its keypoints' extent (HRNet)."""
ASPECT = 3 / 4
"""Width of a person's box relative to its height, as in downsample."""


@dataclass(frozen=True)
class AugmentSettings:
    """Strength of each augmentation.

    Attributes:
        flip: probability of a mirror image.
        half_body: probability of showing the upper or lower body alone.
        half_body_keypoints: only of persons with more labelled keypoints than this.
        upper_body: probability that it is the upper body.
        scale: standard deviation of the factor, cut at one of them.
        rotation: standard deviation in degrees, cut at two of them.
        rotate: probability of a rotation.
    """

    flip: float
    half_body: float
    half_body_keypoints: int
    upper_body: float
    scale: float
    rotation: float
    rotate: float


def sample_affines(
    draws: Tensor,
    keypoints: Tensor,
    visible: Tensor,
    lower_body: tuple[int, ...],
    geometry: CropGeometry,
    settings: AugmentSettings,
) -> tuple[Tensor, Tensor]:
    """Affines ``(B, 2, 3)``, augmented -> original input pixels, and who is flipped.

    Args:
        draws: ``(B, len(DRAWS))`` uniform in [0, 1).
        keypoints: ``(B, K, 2)`` in input pixels; visible: ``(B, K)``.
        lower_body: indices of the lower body's keypoints.
    """
    draw = dict(zip(DRAWS, draws.unbind(-1), strict=True))
    size = torch.tensor(geometry.input_size).to(keypoints)
    centre, zoom = _half_bodies(draw, keypoints, visible, lower_body, size, settings)
    zoom = zoom * _clipped_normal(draw["scale"], settings.scale, 1.0).add(1.0)
    degrees = _clipped_normal(draw["angle"], settings.rotation, 2.0)
    angle = torch.deg2rad(degrees) * (draw["rotate"] < settings.rotate)
    flip = draw["flip"] < settings.flip

    # Rotation happens in image pixels; the box of aspect 3:4 spans size - 1 input
    # pixels, so that an input pixel is not quite square.
    pixel = torch.tensor([ASPECT, 1.0]).to(size) / (size - 1)
    cosine, sine = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    rotation = torch.stack((cosine, -sine, sine, cosine), -1).view(-1, 2, 2)
    linear = rotation * pixel[None, None, :] / pixel[None, :, None]
    # Mirror the augmented image: its column x shows what column w - 1 - x would.
    mirror = torch.where(flip, -1.0, 1.0)
    linear = linear * torch.stack((mirror, torch.ones_like(mirror)), -1)[:, None, :]
    middle = (size - 1) / 2
    shift = centre - linear @ middle
    return torch.cat((linear, shift[..., None]), -1), flip


def _half_bodies(
    draw: dict[str, Tensor],
    keypoints: Tensor,
    visible: Tensor,
    lower_body: tuple[int, ...],
    size: Tensor,
    settings: AugmentSettings,
) -> tuple[Tensor, Tensor]:
    """Centre ``(B, 2)`` in input pixels and zoom ``(B,)`` of what is shown."""
    labelled = visible > 0
    lower = torch.zeros(keypoints.shape[1], dtype=torch.bool, device=visible.device)
    lower[list(lower_body)] = True
    upper_part, lower_part = labelled & ~lower, labelled & lower
    enough_upper, enough_lower = upper_part.sum(1) > 2, lower_part.sum(1) > 2
    take_upper = (draw["upper_body"] < settings.upper_body) & enough_upper
    take_upper = take_upper | ~enough_lower
    part = torch.where(take_upper[:, None], upper_part, lower_part)
    count = part.sum(1)
    chosen = (
        (draw["half_body"] < settings.half_body)
        & (labelled.sum(1) > settings.half_body_keypoints)
        & (count >= 2)
    )

    inside = part[..., None]
    mean = (keypoints * inside).sum(1) / count.clamp_min(1)[:, None]
    largest = keypoints.masked_fill(~inside, -torch.inf).amax(1)
    smallest = keypoints.masked_fill(~inside, torch.inf).amin(1)
    # A share of the whole box along each axis; the box keeps its aspect.
    extent = (largest - smallest) / (size - 1)
    zoom = HALF_BODY_PADDING * extent.amax(1)
    middle = ((size - 1) / 2).expand_as(mean)
    return (
        torch.where(chosen[:, None], mean, middle),
        torch.where(chosen, zoom, torch.ones_like(zoom)),
    )


def _clipped_normal(uniform: Tensor, deviation: float, limit: float) -> Tensor:
    """Normal numbers from uniform ones, cut at ``limit`` deviations."""
    normal = torch.special.ndtri(uniform.double()).clamp(-limit, limit)
    return (deviation * normal).to(uniform.dtype)


def transform_keypoints(
    affines: Tensor, flipped: Tensor, keypoints: Tensor, visible: Tensor, mirror: list
) -> tuple[Tensor, Tensor]:
    """Keypoints and visibility in the augmented image.

    Args:
        affines: ``(B, 2, 3)`` augmented -> original input pixels.
        flipped: ``(B,)``; left and right change their names there.
        mirror: index of each keypoint's mirror image.
    """
    moved = keypoints - affines[:, None, :, 2]
    inverse = torch.linalg.inv(affines[:, :, :2])
    moved = torch.einsum("bij,bkj->bki", inverse, moved)
    moved = torch.where(flipped[:, None, None], moved[:, mirror], moved)
    return moved, torch.where(flipped[:, None], visible[:, mirror], visible)


def warp(crops: Tensor, affines: Tensor, geometry: CropGeometry) -> Tensor:
    """Sample the augmented inputs ``(B, 3, h, w)`` from the crops, bilinearly.

    An input pixel averages ``oversample`` x ``oversample`` samples, which lie one crop
    pixel apart at zoom 1. Outside the crop is black, as outside a photo.

    Args:
        crops: ``(B, 3, H, W)`` float.
        affines: ``(B, 2, 3)`` augmented -> original input pixels.
    """
    step = geometry.oversample
    axes = [
        (torch.arange(side * step, device=crops.device) - (step - 1) / 2) / step
        for side in geometry.input_size
    ]
    x, y = torch.meshgrid(*axes, indexing="xy")
    points = torch.stack((x, y, torch.ones_like(x)), -1).to(crops)
    source = torch.einsum("hwj,bij->bhwi", points, affines)
    source = geometry.to_crop(source)
    size = torch.tensor(geometry.crop_size).to(crops)
    samples = F.grid_sample(
        crops, (2 * source + 1) / size - 1, mode="bilinear", align_corners=False
    )
    return F.avg_pool2d(samples, step) if step > 1 else samples
