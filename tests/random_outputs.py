"""Keypoints and head outputs of no network, for tests of losses."""

import torch
from torch import Tensor

from plugins.codecs.common.codec import Codec, Outputs

SIZE = (48, 64)


def make_batch(persons: int, margin: float = 0.05) -> tuple[Tensor, Tensor]:
    """Keypoints all over the input but for a margin, all labelled."""
    generator = torch.Generator().manual_seed(persons)
    shares = torch.rand(persons, 17, 2, generator=generator)
    keypoints = (margin + (1 - 2 * margin) * shares) * (torch.tensor(SIZE) - 1)
    return keypoints, torch.full((persons, 17), 2.0)


def random_outputs(codec: Codec, persons: int) -> Outputs:
    """Normal numbers of the shapes that this codec decodes."""
    generator = torch.Generator().manual_seed(7)
    width, height = codec.input_size[0] // 4, codec.input_size[1] // 4
    shapes = {"heatmaps": (height, width)}
    if codec.produces.endswith("+offset"):
        shapes["offsets"] = (2, height, width)
    if codec.produces == "bins":
        shapes = {"x": codec.bins[:1], "y": codec.bins[1:]}
    if codec.produces == "coordinates":
        shapes = {"keypoints": (2,), "sigmas": (2,)}
    return {
        name: torch.randn(persons, 17, *shape, generator=generator)
        for name, shape in shapes.items()
    }
