"""HRNet's augmentation of all persons at once: one affine each, and moved keypoints.

Flip, half body, rotation and scale of HRNet's released code (Sun et al., CVPR 2019,
``lib/dataset/JointsDataset.py``), and the shift that MMPose adds to them
(``RandomBBoxTransform``), drawn by inverting the distribution functions so that each
needs exactly one uniform number. Colours change by one affine per person too. Nothing
here looks at a pixel: plugins/datasets/warp.py does, in each step.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from plugins.constants import constant
from plugins.datasets.crop_store import CropGeometry
from plugins.datasets.keypoint_sets import KeypointSet

DRAWS = (
    "flip", "half_body", "upper_body", "scale", "rotate", "angle",
    "shift", "shift_x", "shift_y", "brightness", "contrast", "saturation",
)  # fmt: skip
"""One uniform number each per person and epoch."""
HALF_BODY_PADDING = 1.5
"""Box of a half body, relative to its keypoints' extent (HRNet)."""
SMALLEST_ZOOM = 0.1
"""Of a half body: keypoints on one spot would be magnified without end."""
DEGREE = math.pi / 180
LUMINANCE = (0.299, 0.587, 0.114)
"""Of red, green and blue (ITU-R BT.601, as JPEG and OpenCV have it)."""


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
        shift: standard deviation along each axis, as a share of the box, cut at one of
            them; HRNet has none, MMPose 0.16.
        shifted: probability of a shift.
        brightness: grey levels, at most, that are added or taken.
        contrast: by which share grey levels are stretched or squeezed, at most.
        saturation: by which share colours leave or approach grey, at most.
    """

    flip: float
    half_body: float
    half_body_keypoints: int
    upper_body: float
    scale: float
    rotation: float
    rotate: float
    shift: float = 0.0
    shifted: float = 0.3
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0

    @property
    def colours(self) -> bool:
        """Whether any colour is changed."""
        return max(self.brightness, self.contrast, self.saturation) > 0


def augment_persons(
    draws: Tensor,
    keypoints: Tensor,
    visible: Tensor,
    box: Tensor,
    keypoint_set: KeypointSet,
    geometry: CropGeometry,
    settings: AugmentSettings,
) -> dict[str, Tensor]:
    """What these draws make of persons.

    Args:
        draws: ``(N, len(DRAWS))`` uniform in [0, 1).
        keypoints: ``(N, K, 2)`` in input pixels; visible: ``(N, K)``.
        box: ``(N, 2)``, the padded box's share of the input along each axis.

    Returns:
        ``affines (N, 2, 3)``, augmented -> original input pixels; ``keypoints`` and
        ``visible`` in the augmented image; and, where colours change, ``colours
        (N, 3, 4)``, an affine of red, green and blue.
    """
    affines, flipped = sample_affines(
        draws, keypoints, visible, box, keypoint_set.lower_body, geometry, settings
    )
    keypoints, visible = transform_keypoints(
        affines, flipped, keypoints, visible, keypoint_set.flip_indices
    )
    found = {"affines": affines, "keypoints": keypoints, "visible": visible}
    if settings.colours:
        found["colours"] = sample_colours(draws, settings)
    return found


def sample_affines(
    draws: Tensor,
    keypoints: Tensor,
    visible: Tensor,
    box: Tensor,
    lower_body: tuple[int, ...],
    geometry: CropGeometry,
    settings: AugmentSettings,
) -> tuple[Tensor, Tensor]:
    """Affines ``(B, 2, 3)``, augmented -> original input pixels, and who is flipped.

    Args:
        draws: ``(B, len(DRAWS))`` uniform in [0, 1).
        keypoints: ``(B, K, 2)`` in input pixels; visible: ``(B, K)``.
        box: ``(B, 2)``, the padded box's share of the input along each axis.
        lower_body: indices of the lower body's keypoints.
    """
    draw = dict(zip(DRAWS, draws.unbind(-1), strict=True))
    size = constant(geometry.input_size, keypoints)
    centre, box = _half_bodies(
        draw, keypoints, visible, box, lower_body, size, settings
    )
    # MMPose shifts by the box before it is brought to the input's aspect.
    shift = torch.stack((draw["shift_x"], draw["shift_y"]), -1)
    shift = _clipped_normal(shift, settings.shift, 1.0) * box * (size - 1)
    centre = centre + shift * (draw["shift"] < settings.shifted)[:, None]
    zoom = box.amax(1).clamp_min(SMALLEST_ZOOM)
    zoom = zoom * _clipped_normal(draw["scale"], settings.scale, 1.0).add(1.0)
    degrees = _clipped_normal(draw["angle"], settings.rotation, 2.0)
    angle = DEGREE * degrees * (draw["rotate"] < settings.rotate)
    flip = draw["flip"] < settings.flip

    # Rotation happens in image pixels; the box, of the input's aspect, spans size - 1
    # input pixels, so that an input pixel is not quite square.
    width, height = geometry.input_size
    pixel = constant((width / height, 1.0), size) / (size - 1)
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
    box: Tensor,
    lower_body: tuple[int, ...],
    size: Tensor,
    settings: AugmentSettings,
) -> tuple[Tensor, Tensor]:
    """Centre ``(B, 2)`` in input pixels of what is shown, and its share of the input.

    That is ``box``, or half a body's box: ``(B, 2)``, of any aspect.
    """
    labelled = visible > 0
    flags = tuple(index in lower_body for index in range(keypoints.shape[1]))
    lower = constant(flags, visible, torch.bool)
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
    mean = keypoints.masked_fill(~inside, 0).sum(1) / count.clamp_min(1)[:, None]
    largest = keypoints.masked_fill(~inside, -torch.inf).amax(1)
    smallest = keypoints.masked_fill(~inside, torch.inf).amin(1)
    half = HALF_BODY_PADDING * ((largest - smallest) / (size - 1))
    middle = ((size - 1) / 2).expand_as(mean)
    return (
        torch.where(chosen[:, None], mean, middle),
        torch.where(chosen[:, None], half, box),
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
    (a, b), (c, d) = affines[:, :, :2].permute(1, 2, 0)
    inverse = torch.stack((d, -b, -c, a), -1) / (a * d - b * c)[:, None]
    moved = torch.einsum("bij,bkj->bki", inverse.view(-1, 2, 2), moved)
    order = constant(tuple(mirror), visible, torch.long)
    moved = torch.where(flipped[:, None, None], moved[:, order], moved)
    return moved, torch.where(flipped[:, None], visible[:, order], visible)


def sample_colours(draws: Tensor, settings: AugmentSettings) -> Tensor:
    """Affines ``(N, 3, 4)`` of red, green and blue in grey levels.

    Saturation, contrast and brightness:
    ``contrast * (saturation * I + (1 - saturation) * luminance) rgb + brightness``.

    Args:
        draws: ``(N, len(DRAWS))`` uniform in [0, 1).
    """
    draw = dict(zip(DRAWS, (2 * draws - 1).unbind(-1), strict=True))
    saturation = 1 + settings.saturation * draw["saturation"][:, None, None]
    contrast = 1 + settings.contrast * draw["contrast"][:, None, None]
    grey = constant(LUMINANCE, draws).expand(3, 3)
    colour = torch.eye(3, device=draws.device)
    matrix = contrast * (saturation * colour + (1 - saturation) * grey)
    brightness = settings.brightness * draw["brightness"]
    return torch.cat((matrix, brightness[:, None, None].expand(-1, 3, 1)), -1)
