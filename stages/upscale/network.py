"""Networks for super-resolution that spandrel reads, on images of any size."""

from pathlib import Path

from plugins import mmpose_compat

mmpose_compat.install()  # spandrel imports torchvision, which may need it

import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from spandrel import (  # noqa: E402
    ImageModelDescriptor,
    ModelLoader,
    UnsupportedModelError,
    canonicalize_state_dict,
)
from torch import Tensor  # noqa: E402

from stages.files import StageError  # noqa: E402


def load_network(path: Path) -> ImageModelDescriptor:
    """Load weights; spandrel finds out which network they are of.

    Nothing but tensors is read: the loader of spandrel itself would run TorchScript.

    Raises:
        StageError: the file is missing or broken, holds more than weights, is of a
            network that spandrel does not know, or of one that does not enlarge RGB.
    """
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        state = canonicalize_state_dict(state)
    except FileNotFoundError:
        raise StageError(f"{path}: not found; expected a file of weights") from None
    except Exception as error:  # a broken file raises many kinds
        raise StageError(
            f"{path}: cannot be read as weights ({error}); expected tensors alone, as "
            ".pth or .safetensors"
        ) from None
    try:
        network = ModelLoader().load_from_state_dict(state)
    except UnsupportedModelError:
        raise StageError(f"{path}: of no network that spandrel knows") from None
    except Exception as error:  # weights of other shapes than their network has
        raise StageError(f"{path}: not a network's weights ({error})") from None
    channels = (network.input_channels, network.output_channels)
    enlarges = isinstance(network, ImageModelDescriptor) and network.scale > 1
    if not enlarges or channels != (3, 3):
        raise StageError(
            f"{path}: {network.architecture.name}, scale {network.scale}, channels "
            f"{channels}: expected a network that enlarges RGB"
        )
    return network.eval()


def enlarge(
    network: ImageModelDescriptor, images: Tensor, tile: int, overlap: int
) -> Tensor:
    """Enlarge images ``(B, 3, h, w)`` in [0, 1], a tile at a time; clamped to [0, 1].

    Memory is bounded by the batch and the tile, whatever the size of the images.

    Args:
        tile: pixels that are read at once along each axis, its ``overlap`` with the
            tiles beside, on each side, included.
    """
    *_, height, width = images.shape
    if max(height, width) <= tile:
        return network(images)
    step, scale = tile - 2 * overlap, network.scale
    grown = images.new_empty(*images.shape[:2], height * scale, width * scale)
    for top in range(0, height, step):
        for left in range(0, width, step):
            rows, kept_rows = _spans(top, step, overlap, height, scale)
            columns, kept_columns = _spans(left, step, overlap, width, scale)
            part = network(images[..., rows, columns])[..., kept_rows, kept_columns]
            bottom, right = top * scale + part.shape[2], left * scale + part.shape[3]
            grown[..., top * scale : bottom, left * scale : right] = part
    return grown


def _spans(
    start: int, step: int, overlap: int, length: int, scale: int
) -> tuple[slice, slice]:
    """What a tile reads along an axis, and what of its result is kept."""
    low, high = max(start - overlap, 0), min(start + step + overlap, length)
    first = (start - low) * scale
    return slice(low, high), slice(first, first + min(step, length - start) * scale)
