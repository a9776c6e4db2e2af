"""Small tensors of fixed numbers, made once per device.

A tensor made of a Python list inside a training step is copied from the host, and the
host waits for that copy: the device would run dry once per number.
"""

import functools

import torch
from torch import Tensor


@functools.cache
def _constant(
    values: float | tuple, dtype: torch.dtype, device: torch.device
) -> Tensor:
    # What inference mode makes cannot take part in a later backward pass.
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)


def constant(
    values: float | tuple, like: Tensor, dtype: torch.dtype | None = None
) -> Tensor:
    """``values`` as a tensor on the device of ``like``, by default of its type too.

    It is shared: do not change it in place.

    Args:
        values: a number, or a tuple of numbers or of such tuples.
    """
    return _constant(values, dtype or like.dtype, like.device)


class Fixed:
    """A tensor of fixed numbers, copied once to every device that asks for it."""

    def __init__(self, values: Tensor) -> None:
        self._values = values
        self._copies: dict[tuple, Tensor] = {}

    def like(self, other: Tensor) -> Tensor:
        """The numbers on the device of ``other`` and of its type; shared."""
        key = other.device, other.dtype
        if key not in self._copies:
            with torch.inference_mode(False):
                # Copied even where it need not be: inference may have made the values.
                self._copies[key] = self._values.to(other, copy=True)
        return self._copies[key]
