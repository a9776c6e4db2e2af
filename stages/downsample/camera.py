"""The low-resolution camera: a person's box becomes a crop of exactly so many pixels.

A person's box, padded and brought to the aspect of the input (square at 64x64), is
mapped to exactly the input's pixels by an area filter, with context around it for
rotation and scaling. Unit lengths (UDP, arXiv 1911.07524): the box spans the centres of
the first and last pixel.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image

from plugins.datasets.crop_store import CropGeometry
from plugins.sizes import parse_size
from stages.downsample.filters import area_weights, filter_pixels, linear_weights
from stages.files import StageError

REDUCTIONS = (8, 4, 2)
"""At which parts of its size a JPEG can be decoded, coarsest first."""
COLOURS = ("YCbCr", "RGB", "Gray")
"""Of JPEGs that become RGB without a colour profile."""
FINENESS = 4
"""Least pixels per crop pixel, along each axis, of a photo decoded at reduced scale.

Its pixels are means of the image's, as the area filter takes them, but where a crop
pixel begins within one, the light in it counts as even. On 174 photos of COCO the mean
difference of the worst crop is 3.1 grey levels with 2, 1.3 with 3 and 0.8 with 4.
"""


def make_geometry(settings: dict) -> CropGeometry:
    """Geometry of a store's crops; context is a share of the input's height."""
    try:
        input_size = parse_size(settings["size"])
    except ValueError as error:
        raise StageError(str(error)) from None
    margin = round(settings["context"] * input_size[1])
    return CropGeometry(input_size, margin, settings["oversample"])


def crop_to_image(
    bbox: np.ndarray, geometry: CropGeometry, padding: float
) -> np.ndarray:
    """Affines ``(N, 2, 3)`` from crop pixels to image pixels.

    Args:
        bbox: ``(N, 4)`` x, y, w, h in image pixels.
        geometry: of the crops.
        padding: by which the box grows, about its centre.
    """
    centre = bbox[:, :2] + bbox[:, 2:] / 2
    size = np.array(geometry.input_size)
    aspect = size[0] / size[1]
    height = padding * np.maximum(bbox[:, 3], bbox[:, 2] / aspect)
    box = np.stack((aspect * height, height), axis=-1)
    # Image pixels per input pixel, then the image point of crop pixel 0.
    pixel = box / (size - 1)
    origin = centre - box / 2 + geometry.to_input(np.zeros(2)) * pixel
    affine = np.zeros((len(bbox), 2, 3))
    affine[:, [0, 1], [0, 1]] = pixel / geometry.oversample
    affine[:, :, 2] = origin
    return affine


@dataclass(frozen=True)
class Photo:
    """A decoded photo.

    Attributes:
        pixels: ``(h, w, 3)`` uint8 RGB.
        extent: ``(w, h)`` of the whole image, in these pixels; not whole where a side
            is no multiple of the reduction: the last pixel then lies in it in part.
        reduction: image pixels per pixel, 1 or more. Pixel i covers the image from
            ``reduction * i`` to ``reduction * (i + 1)``, counted from pixel edges.
    """

    pixels: np.ndarray
    extent: tuple[float, float]
    reduction: int = 1


def greatest_reduction(affines: np.ndarray) -> int:
    """By how much a photo may be reduced for these crops: 1, 2, 4 or 8.

    Args:
        affines: ``(N, 2, 3)`` of all its crops, crop pixels -> image pixels.
    """
    finest = affines[:, [0, 1], [0, 1]].min()
    return next((r for r in REDUCTIONS if r * FINENESS <= finest), 1)


def read_photo(path: Path, reduction: int = 1) -> Photo:
    """Decode a photo to RGB; its EXIF orientation is ignored, as COCO does.

    Args:
        reduction: 2, 4, 8 computes only 1/2, 1/4, 1/8 of a JPEG's rows and columns;
            other formats are decoded whole, and so is JPEG in CMYK.

    Raises:
        StageError: it cannot be decoded.
    """
    try:
        content = path.read_bytes()
        photo = decode_jpeg(content, reduction)
        if photo is None:
            with Image.open(io.BytesIO(content)) as image:
                photo = Photo(np.array(image.convert("RGB")), image.size)
    except (OSError, Image.DecompressionBombError) as error:
        raise StageError(
            f"{path}: cannot be decoded ({error}); prepare the data again"
        ) from None
    return photo


def decode_jpeg(content: bytes, reduction: int) -> Photo | None:
    """Decode a JPEG by libjpeg-turbo itself: PIL's pixels, in 0.85 of its time.

    Returns:
        None if it is for PIL to decode, or to say what is wrong: other formats and
        colours, files that are damaged or cut short, and sizes that PIL warns of.
    """
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
        if colours not in COLOURS or height * width > Image.MAX_IMAGE_PIXELS:
            return None
        least = {"min_height": -(-height // reduction)}
        least["min_width"] = -(-width // reduction)
        pixels = simplejpeg.decode_jpeg(content, "RGB", **least)
    except ValueError:
        return None
    return Photo(pixels, (width / reduction, height / reduction), reduction)


def cut(photo: Photo, affine: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Crop ``(h, w, 3)``: each pixel is the mean of the image area that it covers.

    Where the crop magnifies, an area is less than a pixel and linear interpolation
    takes over. Outside the image is black.

    Args:
        affine: ``(2, 3)`` without rotation, crop pixels -> image pixels.
        size: crop ``(w, h)``.
    """
    scale, shift = affine[[0, 1], [0, 1]], affine[:, 2]
    # Counted from pixel edges, as reductions are: pixel i covers [i, i + 1].
    low = (shift - scale / 2 + 0.5) / photo.reduction
    scale = scale / photo.reduction
    weigh = linear_weights if scale.min() < 1 else area_weights
    columns, rows = (
        weigh(low[axis], scale[axis], size[axis], float(photo.extent[axis]))
        for axis in range(2)
    )
    return filter_pixels(np.ascontiguousarray(photo.pixels), rows, columns)
