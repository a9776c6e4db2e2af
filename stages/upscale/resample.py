"""Interpolation between pixels: what needs no weights."""

import torch.nn.functional as F
from torch import Tensor

TAPS = {"bicubic": 4, "lanczos": 6}
"""Pixels that a new pixel is made of, along each axis."""


def resample(images: Tensor, size: tuple[int, int], how: str) -> Tensor:
    """Bring images ``(B, C, h, w)`` to another size ``(w, h)``, as Pillow does.

    Both cover the same area: where sizes differ by the factor f, pixel x becomes the
    pixels around ``f * x + (f - 1) / 2``.

    Args:
        how: bicubic (a = -1/2) or lanczos (three lobes; on the CPU, as PyTorch has it
            there alone).
    """
    # Only with antialias is PyTorch's cubic Keys' own; it changes nothing else where
    # images grow.
    where = "cpu" if how == "lanczos" else images.device
    grown = F.interpolate(images.to(where), size[::-1], mode=how, antialias=True)
    return grown.to(images.device)


def count_gmacs(size: tuple[int, int], to: tuple[int, int], how: str) -> float:
    """Multiply-accumulates in 10^9 of one RGB image: rows first, then columns."""
    width, height = size
    return 3 * TAPS[how] * to[0] * (height + to[1]) / 1e9
