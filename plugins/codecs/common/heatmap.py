"""What every heatmap codec shares: cells, targets and peaks."""

import torch
from torch import Tensor

from plugins.codecs.common.codec import Codec, Outputs
from plugins.codecs.common.couplings import derive_sigma
from plugins.codecs.common.gaussian import draw_gaussians
from plugins.codecs.common.peaks import cells_of, find_maxima
from plugins.constants import Fixed, constant
from plugins.sizes import heatmap_size

TRUNCATION = 3.0
"""Radius in sigmas beyond which a target holds nothing (MMPose's 3-sigma rule)."""


class HeatmapCodec(Codec):
    """Keypoints <-> one Gaussian heatmap per keypoint.

    Args:
        input_size: input ``(w, h)`` in pixels.
        transform: ``udp`` (unit lengths): input and heatmap differ by
            ``(w - 1) / (w_heatmap - 1)``. ``legacy``: by ``w / w_heatmap``, and a
            mirrored heatmap moves by one cell, as MMPose's MSRA and DARK configs have
            it; ``scale`` holds the ratio.
        sigma: of the target in heatmap cells; derived from the size by default.
    """

    produces = "heatmap"
    reads: tuple[str, ...] = ("heatmap", "heatmap+offset")
    transforms = ("udp", "legacy")

    def __init__(
        self,
        input_size: tuple[int, int],
        transform: str = "udp",
        sigma: float | None = None,
    ) -> None:
        super().__init__(input_size, transform)
        self.heatmap_size = heatmap_size(self.input_size)
        self.sigma = self.derive_sigma() if sigma is None else float(sigma)
        if self.sigma <= 0:
            raise ValueError(f"sigma {sigma}: expected a positive number of cells")
        taken = 1 if transform == "udp" else 0
        ratio = [
            (pixels - taken) / (cells - taken)
            for pixels, cells in zip(self.input_size, self.heatmap_size, strict=True)
        ]
        self.scale = torch.tensor(ratio, dtype=torch.float64)
        self._scale = Fixed(self.scale)

    def derive_sigma(self) -> float:
        """Sigma of this codec's targets in cells."""
        return derive_sigma(self.heatmap_size)

    def encode_batch(self, keypoints: Tensor, visible: Tensor) -> Outputs:
        """Targets: ``heatmaps (N, K, h, w)``, ``weights`` and ``keypoints``.

        The weight is 1 where the keypoint is labelled and its Gaussian reaches into
        the map. See ``Codec.encode_batch``.
        """
        keypoints, known = self.labelled(keypoints, visible)
        cells = self.to_cells(keypoints)
        known = known & self.reaches_map(cells)
        weights = known.to(cells)
        heatmaps = self.draw(cells) * weights[..., None, None]
        return {"heatmaps": heatmaps, "weights": weights, "keypoints": keypoints}

    @torch.no_grad()  # an argmax has no gradient, and the steps are taken in place
    def decode_batch(self, outputs: Outputs | Tensor) -> tuple[Tensor, Tensor]:
        """Keypoints ``(N, K, 2)`` in input pixels and scores ``(N, K)``.

        Args:
            outputs: with heatmaps ``(N, K, h, w)``, or these alone. Flat maps and those
                without a positive finite maximum give a finite keypoint of score 0.
        """
        heatmaps = outputs if isinstance(outputs, Tensor) else outputs["heatmaps"]
        heatmaps = heatmaps.float()
        index, scores = find_maxima(heatmaps)
        cells = cells_of(index, self.heatmap_size)
        cells += self.refine(heatmaps, index.flatten())
        return self.to_pixels(cells, scores), scores

    def soft_decode(self, outputs: Outputs) -> Tensor:
        """Mean cell under the squared positive part of each map, in input pixels.

        The square of a Gaussian is a narrower Gaussian with the same centre; it leaves
        what lies around the peak with less weight than the map itself would.
        """
        cells = mean_cells(peak_weights(outputs["heatmaps"]))
        return cells * self.pixels_per_cell(cells)

    def mirror(self, outputs: Outputs, flip_indices: list[int]) -> Outputs:
        """Mirror heatmaps ``(N, K, h, w)``; ``legacy`` moves them by one cell too.

        With unit lengths the mirrored map needs no shift (UDP, arXiv 1911.07524).
        """
        heatmaps = outputs["heatmaps"].flip(-1)[:, flip_indices]
        if self.transform == "legacy":
            heatmaps = torch.cat((heatmaps[..., :1], heatmaps[..., :-1]), -1)
        return outputs | {"heatmaps": heatmaps}

    def draw(self, cells: Tensor) -> Tensor:
        """Target heatmaps of centres ``(N, K, 2)`` in cells."""
        raise NotImplementedError

    def refine(self, heatmaps: Tensor, index: Tensor) -> Tensor:
        """Sub-cell steps ``(2, M)`` in cells, from the places ``(M,)`` of the peaks."""
        raise NotImplementedError

    def pixels_per_cell(self, like: Tensor) -> Tensor:
        """``scale`` on the device of ``like``, and of its type."""
        return self._scale.like(like)

    def to_pixels(self, cells: Tensor, like: Tensor) -> Tensor:
        """Cells ``(2, N * K)`` -> input pixels ``(N, K, 2)``; ``like (N, K)``."""
        pixels = cells * self.pixels_per_cell(cells)[:, None]
        return pixels.T.reshape(*like.shape, 2)

    def to_cells(self, keypoints: Tensor) -> Tensor:
        """Input pixels -> heatmap cells."""
        return keypoints / self.pixels_per_cell(keypoints)

    def reaches_map(self, cells: Tensor) -> Tensor:
        """Whether any of the Gaussian's 3-sigma patch lies in the map, ``(N, K)``."""
        radius = TRUNCATION * self.sigma
        size = constant(self.heatmap_size, cells)
        rounded = round_cells(cells)
        inside = (rounded - radius <= size - 1) & (rounded + radius >= 0)
        return inside.all(-1)

    def draw_truncated(self, centres: Tensor, cells: Tensor) -> Tensor:
        """Gaussians cut to the 3-sigma square around the rounded ``cells``."""
        patch = (round_cells(cells), TRUNCATION * self.sigma)
        return draw_gaussians(centres, self.heatmap_size, self.sigma, patch)


def round_cells(cells: Tensor) -> Tensor:
    """Nearest cell; halves go up, as in MMPose."""
    return torch.floor(cells + 0.5)


def peak_weights(heatmaps: Tensor) -> Tensor:
    """Squared positive part of maps ``(N, K, h, w)``, with sum 1 over each map."""
    squares = heatmaps.float().clamp_min(0).square() + 1e-12
    return squares / squares.sum((-2, -1), keepdim=True)


def mean_cells(weights: Tensor) -> Tensor:
    """Mean cell ``(N, K, 2)`` under weights ``(N, K, h, w)`` with sum 1."""
    height, width = weights.shape[-2:]
    x = torch.arange(width, device=weights.device, dtype=weights.dtype)
    y = torch.arange(height, device=weights.device, dtype=weights.dtype)
    return torch.stack((weights.sum(-2) @ x, weights.sum(-1) @ y), -1)
