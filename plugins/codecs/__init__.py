"""Keypoint codecs: one module each, batched, on any device, registered with MMPose."""

from plugins.codecs.base import HeatmapCodec
from plugins.registry import CODECS, find, import_modules

import_modules(__name__, __path__)


def build_codec(
    name: str, input_size: tuple[int, int], **overrides: object
) -> HeatmapCodec:
    """Build a codec by its name, for an input ``(w, h)`` in pixels.

    Args:
        overrides: settings of the codec; those that are None are derived from the size.

    Raises:
        ValueError: no codec of that name, or a setting out of range.
        TypeError: a setting that the codec does not have.
    """
    return find(CODECS, name)(input_size, **overrides)


def codecs_for(outputs: str, input_size: tuple[int, int]) -> dict[str, HeatmapCodec]:
    """All codecs, with derived settings, that can decode this kind of output."""
    codecs = {
        name: build_codec(name, input_size) for name in sorted(CODECS.module_dict)
    }
    return {name: codec for name, codec in codecs.items() if codec.outputs == outputs}
