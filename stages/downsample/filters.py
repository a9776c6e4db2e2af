"""The area filter of the low-resolution camera, compiled by Numba.

Each crop pixel is a weighted sum over pixels, along y and then along x, added up in the
order of the pixels and in float32. So that a store's bytes depend on no machine, that
order is kept: no fastmath, which also fuses multiplications with additions.
"""

import math

import numba
import numpy as np

compiled = numba.njit(cache=True, nogil=True)

Weights = tuple[np.ndarray, np.ndarray, np.ndarray]
"""``(n + 1,)`` where the parts of each crop pixel start; of every part the pixel it
comes from and its weight, float32."""


@compiled
def area_weights(low: float, scale: float, length: int, extent: float) -> Weights:
    """Means over adjoining intervals; pixels in part inside count by that part.

    (Pillow's box filter counts whole pixels: at two image pixels per crop pixel it
    moves things by up to 0.2 crop pixels.)

    Args:
        low: where the first interval begins; pixel i covers [i, i + 1].
        scale: length of an interval, 1 or more; length: number of intervals.
        extent: where the image ends.
    """
    most = length * (math.ceil(scale) + 1)
    starts = np.zeros(length + 1, np.int64)
    index, weights = np.empty(most, np.int64), np.empty(most, np.float32)
    count = 0
    for i in range(length):
        begin = min(max(low + scale * i, 0.0), extent)
        end = min(max(low + scale * (i + 1), 0.0), extent)
        for pixel in range(math.floor(begin), math.ceil(end)):
            part = min(end, pixel + 1.0) - max(begin, float(pixel))
            index[count], weights[count] = pixel, np.float32(part / scale)
            count += 1
        starts[i + 1] = count
    return starts, index[:count], weights[:count]


@compiled
def linear_weights(low: float, scale: float, length: int, extent: float) -> Weights:
    """Linear interpolation at the intervals' centres; arguments as ``area_weights``."""
    starts = np.arange(0, 2 * length + 1, 2)
    index, weights = np.empty(2 * length, np.int64), np.empty(2 * length, np.float32)
    for i in range(length):
        centre = low + scale * (i + 0.5) - 0.5
        first = math.floor(centre)
        for side, weight in enumerate((first + 1 - centre, centre - first)):
            pixel = first + side
            inside = 0 <= pixel < extent
            weights[2 * i + side] = np.float32(weight if inside else 0.0)
            index[2 * i + side] = min(max(pixel, 0), math.ceil(extent) - 1)
    return starts, index, weights


@compiled
def filter_pixels(pixels: np.ndarray, rows: Weights, columns: Weights) -> np.ndarray:
    """Weighted sums ``(h, w, 3)`` uint8 of ``pixels (H, W, 3)`` uint8.

    Args:
        rows: weights along y, of each of the h rows; columns: those along x.
    """
    row_starts, row_index, row_weights = rows
    starts, index, weights = columns
    height, width = len(row_starts) - 1, len(starts) - 1
    crop = np.zeros((height, width, 3), np.uint8)
    if len(index) == 0 or len(row_index) == 0:
        return crop
    left, right = index.min(), index.max() + 1
    line = np.empty(3 * (right - left), np.float32)
    sums = np.empty(3 * width, np.float32)
    # Slices and unsigned numbers, for Numba to make loops of vector instructions.
    three, places = np.uint64(3), (index - left).astype(np.uint64)
    for y in range(height):
        line[:] = 0
        for part in range(row_starts[y], row_starts[y + 1]):
            weight = row_weights[part]
            source = pixels[row_index[part], left:right].reshape(-1)
            for i in range(line.size):
                line[i] += weight * np.float32(source[i])
        for x in range(width):
            red, green, blue = np.float32(0), np.float32(0), np.float32(0)
            for part in range(starts[x], starts[x + 1]):
                weight, i = weights[part], three * places[part]
                red += weight * line[i]
                green += weight * line[i + np.uint64(1)]
                blue += weight * line[i + np.uint64(2)]
            sums[3 * x], sums[3 * x + 1], sums[3 * x + 2] = red, green, blue
        found = crop[y].reshape(-1)
        for i in range(sums.size):
            found[i] = np.uint8(min(np.rint(sums[i]), np.float32(255)))
    return crop
