"""Where the crops of a store wait: on disk, in memory, on the training device."""

import os

import numpy as np
import psutil
import torch
from torch import Tensor

CACHES = ("auto", "none", "host", "device")
SHARE = 0.5
"""Of the free memory that ``auto`` is willing to take."""
BLOCK = 2**28
"""Bytes of crops that are on their way to the GPU at once."""


def choose_cache(wanted: str, size: int, device: torch.device) -> str:
    """Resolve ``auto``: the nearest place to the device with room for the crops.

    On a CPU that is the memory map itself: the kernel keeps its pages in memory as long
    as there is room, and gives them back when there is not.

    Args:
        wanted: one of ``CACHES``.
        size: of the crops in bytes.
        device: that trains.

    Raises:
        ValueError: an unknown cache, or ``device`` with no GPU.
    """
    if wanted not in CACHES:
        raise ValueError(f"cache {wanted!r}: expected one of {', '.join(CACHES)}")
    on_gpu = device.type == "cuda"
    if wanted == "device" and not on_gpu:
        raise ValueError("cache device: there is no GPU; expected auto, none or host")
    if wanted != "auto":
        return wanted
    if on_gpu and size < SHARE * torch.cuda.mem_get_info(device)[0]:
        return "device"
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))  # torchrun's, each holds all
    if on_gpu and processes * size < SHARE * free_memory():
        return "host"
    return "none"


def free_memory() -> int:
    """Bytes of memory that processes can have; the kernel gives up cached files."""
    return psutil.virtual_memory().available


def hold(crops: np.ndarray, cache: str, device: torch.device) -> np.ndarray | Tensor:
    """The crops where the cache says; ``crops`` is a memory map ``(N, H, W, 3)``."""
    if cache == "none":
        return crops
    if cache == "host":
        return np.array(crops)
    held = torch.empty(crops.shape, dtype=torch.uint8, device=device)
    count = max(1, BLOCK // crops[0].nbytes)
    for start in range(0, len(crops), count):
        rows = slice(start, start + count)
        held[rows] = torch.from_numpy(np.array(crops[rows]))
    return held


def send(batch: Tensor, device: torch.device) -> Tensor:
    """Make ready for a copy to the device that runs beside the step (pinned memory)."""
    return batch.pin_memory() if device.type == "cuda" else batch
