"""Coordinates themselves, normalised to (-0.5, 0.5) over the input."""

import torch
from torch import Tensor

from plugins.codecs.common.codec import Codec, Outputs
from plugins.constants import constant
from plugins.registry import CODECS


@CODECS.register_module("regression")
class RegressionCodec(Codec):
    """Keypoints <-> ``keypoints (N, K, 2)``; 0 is the centre, +-0.5 the last pixels.

    Where the network also gives ``sigmas (N, K, 2)`` before the sigmoid (RLE, arXiv
    2107.11291), the score is one minus their mean; without them it is 1.
    """

    produces = "coordinates"
    reads = ("coordinates",)

    def encode_batch(self, keypoints: Tensor, visible: Tensor) -> Outputs:
        """Targets: ``keypoints`` in input pixels, ``weights``: labelled and inside."""
        keypoints, known = self.labelled(keypoints, visible)
        inside = (keypoints >= 0) & (keypoints <= self.last_pixel(keypoints))
        weights = (known & inside.all(-1)).to(keypoints)
        return {"keypoints": keypoints, "weights": weights}

    def decode_batch(self, outputs: Outputs) -> tuple[Tensor, Tensor]:
        """Keypoints in input pixels; those that are not finite: the centre, score 0."""
        keypoints = outputs["keypoints"].float()
        known = keypoints.isfinite().all(-1)
        scores = torch.ones_like(keypoints[..., 0])
        if "sigmas" in outputs:
            scores = 1 - outputs["sigmas"].float().sigmoid().mean(-1)
            known = known & scores.isfinite()
        keypoints = torch.where(known[..., None], keypoints, 0.0).clamp(-1, 1)
        return self.to_pixels(keypoints), torch.where(known, scores, 0.0)

    def soft_decode(self, outputs: Outputs) -> Tensor:
        """The coordinates in input pixels."""
        return self.to_pixels(outputs["keypoints"].float())

    def to_pixels(self, normalised: Tensor) -> Tensor:
        """(-0.5, 0.5) -> input pixels."""
        return (normalised + 0.5) * self.last_pixel(normalised)

    def to_normalised(self, keypoints: Tensor) -> Tensor:
        """Input pixels -> (-0.5, 0.5)."""
        return keypoints / self.last_pixel(keypoints) - 0.5

    def mirror(self, outputs: Outputs, flip_indices: list[int]) -> Outputs:
        """Negate x; widths keep theirs."""
        mirrored = {name: values[:, flip_indices] for name, values in outputs.items()}
        sign = constant((-1.0, 1.0), mirrored["keypoints"])
        return mirrored | {"keypoints": mirrored["keypoints"] * sign}
