"""Upscalers: each makes an image of one size into one of another, and says its cost."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.analysis import FlopAnalyzer
from torch import Tensor

from stages.files import StageError, hash_of_file
from stages.upscale.resample import TAPS, count_gmacs, resample

REPEATS = 3
"""Of the timing; the fastest counts, since everything else slows a machine down."""


@dataclass(frozen=True)
class Upscaler:
    """An upscaler on its device.

    Attributes:
        grow: images ``(B, 3, h, w)`` in [0, 1] -> ``(B, 3, factor h, factor w)``.
        factor: pixels along each axis that a pixel becomes.
        device: where it runs.
        description: what it is: architecture, its own scale, parameters, weights.
        count: multiply-accumulates in 10^9 of an image of a size ``(w, h)``.
    """

    grow: Callable[[Tensor], Tensor]
    factor: int
    device: torch.device
    description: dict
    count: Callable[[tuple[int, int]], float]

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Enlarge uint8 images ``(B, h, w, 3)``."""
        pixels = images.to(self.device).permute(0, 3, 1, 2).float() / 255
        grown = self.grow(pixels).mul(255).round_().clamp_(0, 255)
        return grown.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu()


def build_upscaler(settings: dict, factor: int) -> Upscaler:
    """Build the upscaler of an item of ``upscaled`` in params.yaml, on a GPU if any.

    Raises:
        StageError: it is unknown, or its weights cannot be used.
    """
    gpu = torch.cuda.is_available()
    how = settings["name"]
    if how in TAPS:
        device = torch.device("cuda" if gpu and how != "lanczos" else "cpu")
        described = {"architecture": f"{how} interpolation", "scale": factor}

        def grow(images: Tensor) -> Tensor:
            return resample(images, _times(images.shape[:1:-1], factor), how)

        def count(size: tuple[int, int]) -> float:
            return count_gmacs(size, _times(size, factor), how)

        described |= {"parameters": 0}
        return Upscaler(grow, factor, device, described, count)
    if how not in ("sr_compact", "spandrel"):
        raise StageError(f"upscale {how!r}: expected {', '.join(TAPS)}, or a network")
    return build_network(settings, factor, torch.device("cuda" if gpu else "cpu"))


def build_network(settings: dict, factor: int, device: torch.device) -> Upscaler:
    """An upscaler by a network; what its scale lacks or exceeds is resampled."""
    from stages.upscale.network import enlarge, load_network  # slow to import

    path = Path(settings["weights"])
    network = load_network(path).to(device)
    tile, overlap = settings["tile"], settings["overlap"]
    if tile <= 2 * overlap:
        raise StageError(f"tile={tile}: expected more than twice overlap={overlap}")

    def grow(images: Tensor) -> Tensor:
        grown = enlarge(network, images, tile, overlap)
        if network.scale == factor:
            return grown
        return resample(grown, _times(images.shape[:1:-1], factor), "bicubic")

    described = {
        "architecture": " ".join([network.architecture.name, *network.tags]),
        "scale": network.scale,
        "parameters": sum(weight.numel() for weight in network.model.parameters()),
        "weights_sha256": hash_of_file(path),
    }
    return Upscaler(grow, factor, device, described, _counter(network, device))


def measure_ms(upscaler: Upscaler, images: Tensor, batch_size: int) -> float:
    """Milliseconds per person of uint8 images ``(N, h, w, 3)``."""
    upscaler(images[:batch_size])  # kernels are chosen and memory is taken
    taken = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        for batch in images.split(batch_size):
            upscaler(batch)  # ends on the CPU: nothing is left under way on a GPU
        taken.append(time.perf_counter() - started)
    return 1000 * min(taken) / len(images)


def _times(size: tuple[int, ...], factor: int) -> tuple[int, int]:
    """``(w, h)`` times the factor."""
    width, height = size
    return width * factor, height * factor


def _counter(network, device: torch.device) -> Callable[[tuple[int, int]], float]:
    def count(size: tuple[int, int]) -> float:
        image = torch.zeros(1, 3, size[1], size[0], device=device)
        counted = FlopAnalyzer(network.model, (image,))
        return counted.unsupported_ops_warnings(False).total() / 1e9

    return count
