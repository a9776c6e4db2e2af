"""Keypoint codecs: one module each, batched, on any device, registered with MMPose."""

import inspect

from plugins.codecs.common.codec import Codec
from plugins.registry import CODECS, find, import_modules

import_modules(__name__, __path__)


def build_codec(name: str, input_size: tuple[int, int], **overrides: object) -> Codec:
    """Build a codec by its name, for an input ``(w, h)`` in pixels.

    Args:
        overrides: settings of the codec; those that are None are derived from the size.

    Raises:
        ValueError: no codec of that name, or a setting out of range.
        TypeError: a setting that the codec does not have.
    """
    return find(CODECS, name)(input_size, **overrides)


def decoders_for(own: Codec) -> dict[str, Codec]:
    """All codecs that can decode what a network with this codec gives.

    They take over its transform and its sigma, without which a decoder of the same
    heatmaps would expect another peak; the rest is derived.
    """
    decoders = {}
    for name, codec in sorted(CODECS.module_dict.items()):
        if own.produces in codec.reads and own.transform in codec.transforms:
            known = inspect.signature(codec).parameters
            shared = {key: getattr(own, key) for key in ("transform", "sigma")
                      if key in known and hasattr(own, key)}  # fmt: skip
            decoders[name] = codec(own.input_size, **shared)
    return decoders
