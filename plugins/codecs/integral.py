"""Integral regression (IPR, arXiv 1711.08229) and DSNT (arXiv 1801.07372)."""

import math

import torch
from torch import Tensor

from plugins.codecs.common.codec import Outputs
from plugins.codecs.common.gaussian import draw_gaussians
from plugins.codecs.common.heatmap import HeatmapCodec, mean_cells
from plugins.registry import CODECS


@CODECS.register_module("integral")
class IntegralCodec(HeatmapCodec):
    """Keypoints <-> logits over the cells of a map; decoded to the softmax's mean.

    What IPR and DSNT share; they differ in the loss. The mean is drawn inward where the
    distribution's tail leaves the map, which the network has to learn to undo.

    Args:
        input_size, sigma: see ``HeatmapCodec``; the Gaussian is what DSNT's divergence
            compares the softmax with.
    """

    produces = "logits"
    reads = ("logits",)
    transforms = ("udp",)

    def encode_batch(self, keypoints: Tensor, visible: Tensor) -> Outputs:
        """Distributions ``heatmaps (N, K, h, w)``, each with sum 1.

        The weight is 1 for labelled keypoints inside the input: no mean lies outside.
        """
        keypoints, known = self.labelled(keypoints, visible)
        margin = self.pixels_per_cell(keypoints) / 2
        inside = (keypoints >= -margin) & (
            keypoints <= self.last_pixel(margin) + margin
        )
        known = known & inside.all(-1)
        cells = torch.where(known[..., None], self.to_cells(keypoints), 0.0)
        heatmaps = draw_gaussians(cells, self.heatmap_size, self.sigma)
        heatmaps = heatmaps / heatmaps.sum((-2, -1), keepdim=True)
        weights = known.to(heatmaps)
        return {"heatmaps": heatmaps, "weights": weights, "keypoints": keypoints}

    def decode_batch(self, outputs: Outputs | Tensor) -> tuple[Tensor, Tensor]:
        """Means, and the largest probability relative to a perfect target's.

        Logits that are not finite or are flat give the centre of the map and score 0.
        """
        logits = outputs if isinstance(outputs, Tensor) else outputs["heatmaps"]
        logits = logits.float()
        flat = logits.flatten(-2)
        largest, smallest = flat.amax(-1), flat.amin(-1)
        known = (largest > smallest) & largest.isfinite() & ~flat.isnan().any(-1)
        logits = torch.where(known[..., None, None], logits, 0.0)
        probabilities = self.distribution(logits)
        cells = mean_cells(probabilities)
        perfect = 1 / (2 * math.pi * self.sigma**2)
        scores = (probabilities.amax((-2, -1)) / perfect).clamp(0, 1)
        return cells * self.pixels_per_cell(cells), torch.where(known, scores, 0.0)

    def soft_decode(self, outputs: Outputs) -> Tensor:
        """The means."""
        cells = mean_cells(self.distribution(outputs["heatmaps"].float()))
        return cells * self.pixels_per_cell(cells)

    @staticmethod
    def distribution(logits: Tensor) -> Tensor:
        """Softmax over the cells of each map ``(N, K, h, w)``."""
        return logits.flatten(-2).softmax(-1).view(logits.shape)
