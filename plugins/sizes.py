"""Input sizes: written HxW in names (``64x48``), ``(w, h)`` in code, as in MMPose."""

import re

STRIDE = 4
"""Input pixels per heatmap cell; the heatmap is exactly input / 4 at every size."""


def parse_size(name: str) -> tuple[int, int]:
    """Turn ``"64x48"`` (H x W) into ``(w, h) = (48, 64)`` input pixels.

    Raises:
        ValueError: not ``HxW``, or a side that is not a positive multiple of 8
            (heatmaps of exactly input / 4 need an even number of cells).
    """
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", str(name))
    if not match:
        raise ValueError(f"size {name!r}: expected HEIGHTxWIDTH, such as 64x48")
    height, width = int(match[1]), int(match[2])
    if height % 8 or width % 8:
        raise ValueError(f"size {name!r}: both sides must be multiples of 8")
    return width, height


def heatmap_size(input_size: tuple[int, int]) -> tuple[int, int]:
    """Heatmap ``(w, h)`` in cells for an input ``(w, h)`` in pixels."""
    return input_size[0] // STRIDE, input_size[1] // STRIDE
