"""SimCC (Li et al., ECCV 2022, arXiv 2107.03332): a classification along each axis."""

import math

import torch
from torch import Tensor

from plugins.codecs.common.codec import Codec, Outputs
from plugins.codecs.common.couplings import derive_bin_sigma
from plugins.constants import constant
from plugins.registry import CODECS

TARGETS = ("gaussian", "one_hot")
REACH = 3.0
"""Sigmas by which a keypoint may lie outside the input and still be learnt."""


@CODECS.register_module("simcc")
class SimCCCodec(Codec):
    """Keypoints <-> logits over bins of x ``(N, K, Bx)`` and of y ``(N, K, By)``.

    Bin b is at ``b / split`` input pixels; the first and the last one are the centres
    of the first and last pixel, ``(w - 1) * split + 1`` bins in all, so that a mirrored
    image has its bins in reverse. (MMPose has ``w * split``, whose reverse is off by
    ``1 - 1 / split`` pixels in the flip test.)

    Args:
        input_size: input ``(w, h)`` in pixels.
        split: bins per input pixel.
        target: ``gaussian``, around the sub-bin position and decoded below a bin by a
            parabola; or ``one_hot``, the nearest bin.
        sigma: of the Gaussian in bins, both axes; derived from each side by default.
    """

    produces = "bins"
    reads = ("bins",)

    def __init__(
        self,
        input_size: tuple[int, int],
        transform: str = "udp",
        split: int = 2,
        target: str = "gaussian",
        sigma: float | None = None,
    ) -> None:
        super().__init__(input_size, transform)
        if split < 1:
            raise ValueError(f"split {split}: expected at least one bin per pixel")
        if target not in TARGETS:
            raise ValueError(f"target {target!r}: expected one of {', '.join(TARGETS)}")
        if sigma is not None and sigma <= 0:
            raise ValueError(f"sigma {sigma}: expected a positive number of bins")
        self.split, self.target = int(split), target
        self.sigmas = tuple(
            derive_bin_sigma(side) if sigma is None else float(sigma)
            for side in self.input_size
        )
        self.bins = tuple((side - 1) * self.split + 1 for side in self.input_size)

    def encode_batch(self, keypoints: Tensor, visible: Tensor) -> Outputs:
        """Distributions ``x (N, K, Bx)`` and ``y (N, K, By)``, each with sum 1."""
        keypoints, known = self.labelled(keypoints, visible)
        reach = REACH * constant(self.sigmas, keypoints) / self.split
        if self.target == "one_hot":
            reach = torch.full_like(reach, 0.5 / self.split)
        inside = (keypoints >= -reach) & (keypoints <= self.last_pixel(reach) + reach)
        weights = (known & inside.all(-1)).to(keypoints)
        target = {"weights": weights, "keypoints": keypoints}
        for axis, name in enumerate("xy"):
            centre = keypoints[..., axis, None] * self.split
            bins = torch.arange(self.bins[axis], device=keypoints.device)
            if self.target == "one_hot":
                nearest = torch.floor(centre + 0.5).clamp(0, len(bins) - 1)
                target[name] = (bins == nearest).to(keypoints)
            else:
                exponent = -(bins - centre).square() / (2 * self.sigmas[axis] ** 2)
                target[name] = exponent.softmax(-1)
        return target

    def decode_batch(self, outputs: Outputs) -> tuple[Tensor, Tensor]:
        """Largest bins, refined to the vertex of a parabola through the logits.

        The score is the smaller of both axes' largest probabilities, relative to that
        of a perfect target. Logits without a finite maximum, or flat ones, score 0.
        """
        coordinates, scores = [], []
        for axis, name in enumerate("xy"):
            logits = outputs[name].float()
            peak, index = logits.max(-1)
            known = peak.isfinite()
            known &= (logits[..., 0] < peak) | (logits[..., -1] < peak)
            step = 0.0
            if self.target == "gaussian":
                step = self._vertex(logits, index, self.sigmas[axis])
            coordinates.append((index + step) / self.split)
            probability = 1 / (logits - peak[..., None]).exp().sum(-1)
            if self.target == "gaussian":
                probability = probability * math.sqrt(2 * math.pi) * self.sigmas[axis]
            scores.append(torch.where(known, probability.clamp(0, 1), 0.0))
        return torch.stack(coordinates, -1), torch.minimum(*scores)

    @staticmethod
    def _vertex(logits: Tensor, index: Tensor, sigma: float) -> Tensor:
        """Bins from the largest to the vertex, at most one; 0 where there is none.

        A border bin has one neighbour: there the curvature is the target's. The logits
        of a Gaussian are a parabola, whatever constant the softmax takes off.
        """
        last = logits.shape[-1] - 1

        def at(bins: Tensor) -> Tensor:
            return logits.gather(-1, bins.clamp(0, last)[..., None])[..., 0]

        here, below, above = at(index), at(index - 1), at(index + 1)
        curvature = -1 / sigma**2
        below = torch.where(index == 0, 2 * here - above + curvature, below)
        above = torch.where(index == last, 2 * here - below + curvature, above)
        second = above - 2 * here + below
        step = 0.5 * (below - above) / torch.where(second < 0, second, -torch.inf)
        return step.nan_to_num(0.0).clamp(-1, 1)

    def soft_decode(self, outputs: Outputs) -> Tensor:
        """Mean bin of each axis' softmax, in input pixels."""
        means = []
        for name in "xy":
            probability = outputs[name].float().softmax(-1)
            bins = torch.arange(
                probability.shape[-1],
                dtype=probability.dtype,
                device=probability.device,
            )
            means.append(probability @ bins / self.split)
        return torch.stack(means, -1)

    def mirror(self, outputs: Outputs, flip_indices: list[int]) -> Outputs:
        """Reverse the bins of x."""
        x, y = outputs["x"][:, flip_indices], outputs["y"][:, flip_indices]
        return outputs | {"x": x.flip(-1), "y": y}
