"""What a training step does to pixels: warp, anti-aliasing and colours of a batch."""

import functools

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from plugins.constants import Fixed, constant
from plugins.datasets.crop_store import CropGeometry


def warp(crops: Tensor, affines: Tensor, geometry: CropGeometry) -> Tensor:
    """Sample the augmented inputs ``(B, 3, h, w)`` from the crops, bilinearly.

    An input pixel averages ``oversample`` x ``oversample`` samples, which lie one crop
    pixel apart at zoom 1; where they lie farther apart, the crop is smoothed first.
    Outside the crop is black, as outside a photo.

    Args:
        crops: ``(B, 3, H, W)`` grey levels, uint8 or float; not changed.
        affines: ``(B, 2, 3)`` augmented -> original input pixels.

    Returns:
        grey levels, of the affines' type.
    """
    points = _sample_points(geometry).like(affines)
    factor, first = (constant(c, affines) for c in _grid_of_input(geometry))
    grid = torch.einsum("hwj,bij->bhwi", points, affines * factor + first)
    own = crops.to(affines.dtype, copy=True)
    samples = F.grid_sample(
        smooth_(own, affines), grid, mode="bilinear", align_corners=False
    )
    step = geometry.oversample
    return F.avg_pool2d(samples, step) if step > 1 else samples


@functools.cache
def _sample_points(geometry: CropGeometry) -> Fixed:
    """Where an augmented input is sampled, ``(h, w, 3)``: x, y in input pixels, 1."""
    step = geometry.oversample
    x, y = (
        (torch.arange(side * step) - (step - 1) / 2) / step
        for side in geometry.input_size
    )
    x, y = torch.meshgrid(x, y, indexing="xy")
    return Fixed(torch.stack((x, y, torch.ones_like(x)), -1))


@functools.cache
def _grid_of_input(geometry: CropGeometry) -> tuple[tuple, tuple]:
    """Factors ``(2, 1)`` and summands ``(2, 3)`` of affines to original input pixels.

    They then lead to places in the crop from -1 to 1, counted from its edges, as
    grid_sample does without align_corners.
    """
    sides = np.array(geometry.crop_size)
    first = (2 * geometry.to_crop(np.zeros(2)) + 1) / sides - 1
    return (
        tuple((2 * geometry.oversample / side,) for side in sides.tolist()),
        tuple((0.0, 0.0, place) for place in first.tolist()),
    )


def smooth_(crops: Tensor, affines: Tensor) -> Tensor:
    """Smooth crops ``(B, 3, H, W)``, in place, as far as their affine shrinks them.

    At zoom z a sample stands for z pixels along each axis. A box of that width has the
    variance ``(z^2 - 1) / 12`` more than one of a single pixel, and taps of
    ``a, 1 - 2 a, a`` have ``2 a``.
    """
    (a, b), (c, d) = affines[:, :, :2].permute(1, 2, 0)
    zoom_squared = (a * d - b * c).abs()
    share = ((zoom_squared - 1) / 24).clamp(0, 0.25).to(crops)
    if crops.device.type != "cpu":  # it would have to wait for who shrinks
        return blend_(crops, share)
    rows = share.nonzero().flatten()
    crops[rows] = blend_(crops[rows], share[rows])
    return crops


def blend_(crops: Tensor, share: Tensor) -> Tensor:
    """Give each pixel of crops ``(B, 3, H, W)`` this share ``(B,)`` of each neighbour.

    In place, first along y and then along x; pixels at the border stay as they are.
    """
    share = share[:, None, None, None]
    for axis in (2, 3):
        length = crops.shape[axis] - 2
        before, inner, after = (crops.narrow(axis, i, length) for i in range(3))
        beside = before + after  # before inner changes, of which they are parts
        inner.mul_(1 - 2 * share).addcmul_(beside, share)
    return crops


def change_colours(images: Tensor, colours: Tensor) -> Tensor:
    """Grey levels ``(B, 3, h, w)`` in other light, cut at 0 and 255.

    Args:
        images: RGB in grey levels.
        colours: ``(B, 3, 4)``, affines of red, green and blue.
    """
    changed = torch.einsum("bij,bjhw->bihw", colours[:, :, :3], images)
    return (changed + colours[:, :, 3, None, None]).clamp_(0, 255)
