"""Small tensors of fixed numbers, made once per device.

A tensor made of a Python list inside a training step is copied from the host, and the
host waits for that copy: the device would run dry once per number.
"""

import functools

import torch
from torch import Tensor


@functools.cache
def _constant(values: tuple, dtype: torch.dtype, device: torch.device) -> Tensor:
    # What inference mode makes cannot take part in a later backward pass.
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)


def constant(values: tuple, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """``values`` as a tensor on the device of ``like``, by default of its type too.

    It is shared: do not change it in place.

    Args:
        values: numbers, or tuples of them.
    """
    return _constant(values, dtype or like.dtype, like.device)
