"""What every heatmap codec shares: sizes, units, targets, and MMPose's interface."""

import numpy as np
import torch
from mmpose.codecs.base import BaseKeypointCodec
from torch import Tensor

from plugins.codecs.couplings import derive_sigma
from plugins.codecs.gaussian import draw_gaussians, find_peaks
from plugins.sizes import heatmap_size

TRUNCATION = 3.0
"""Radius in sigmas beyond which a target holds nothing (MMPose's 3-sigma rule)."""


class HeatmapCodec(BaseKeypointCodec):
    """Keypoints <-> one Gaussian heatmap per keypoint.

    Coordinates are input pixels with pixel centres at integers. The transform is UDP's:
    unit lengths, so input and heatmap differ by ``(w - 1) / (w_heatmap - 1)``.

    Args:
        input_size: input ``(w, h)`` in pixels.
        sigma: of the target in heatmap cells; derived from the size by default.
    """

    outputs = "heatmap"
    """What the network must give for ``decode_batch``; equal ones are exchangeable."""

    def __init__(self, input_size: tuple[int, int], sigma: float | None = None) -> None:
        super().__init__()
        self.input_size = tuple(input_size)
        self.heatmap_size = heatmap_size(self.input_size)
        self.sigma = derive_sigma(self.heatmap_size) if sigma is None else float(sigma)
        if self.sigma <= 0:
            raise ValueError(f"sigma {sigma}: expected a positive number of cells")
        ratio = [
            (pixels - 1) / (cells - 1)
            for pixels, cells in zip(self.input_size, self.heatmap_size, strict=True)
        ]
        self.scale = torch.tensor(ratio, dtype=torch.float64)

    def encode_batch(self, keypoints: Tensor, visible: Tensor) -> dict[str, Tensor]:
        """Targets of a batch.

        Args:
            keypoints: ``(N, K, 2)`` in input pixels.
            visible: ``(N, K)``; above 0 where the keypoint is labelled.

        Returns:
            ``heatmaps (N, K, h, w)`` and ``weights (N, K)``: 1 where the keypoint is
            labelled and its Gaussian reaches into the map, else 0.
        """
        cells = keypoints / self.scale.to(keypoints)
        known = (visible > 0) & self.reaches_map(cells) & cells.isfinite().all(-1)
        heatmaps = self.draw(torch.where(known[..., None], cells, 0.0))
        weights = known.to(heatmaps)
        return {"heatmaps": heatmaps * weights[..., None, None], "weights": weights}

    def decode_batch(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Keypoints ``(N, K, 2)`` in input pixels and scores ``(N, K)``.

        Args:
            outputs: heatmaps ``(N, K, h, w)``. Maps without a positive finite maximum
                give a finite keypoint with score 0.
        """
        heatmaps = outputs.float()
        peaks, scores = find_peaks(heatmaps)
        cells = peaks + self.refine(heatmaps, peaks)
        return cells * self.scale.to(cells), scores

    def draw(self, cells: Tensor) -> Tensor:
        """Target heatmaps of centres ``(N, K, 2)`` in cells."""
        raise NotImplementedError

    def refine(self, heatmaps: Tensor, peaks: Tensor) -> Tensor:
        """Sub-cell step ``(N, K, 2)`` from the peaks, in cells."""
        raise NotImplementedError

    def reaches_map(self, cells: Tensor) -> Tensor:
        """Whether any of the Gaussian's 3-sigma patch lies in the map, ``(N, K)``."""
        radius = TRUNCATION * self.sigma
        size = torch.tensor(self.heatmap_size).to(cells)
        rounded = round_cells(cells)
        inside = (rounded - radius < size) & (rounded + radius + 1 >= 0)
        return inside.all(-1)

    def draw_truncated(self, centres: Tensor, cells: Tensor) -> Tensor:
        """Gaussians cut to the 3-sigma square around the rounded ``cells``."""
        patch = (round_cells(cells), TRUNCATION * self.sigma)
        return draw_gaussians(centres, self.heatmap_size, self.sigma, patch)

    def encode(
        self, keypoints: np.ndarray, keypoints_visible: np.ndarray | None = None
    ) -> dict:
        """MMPose's single-sample form of ``encode_batch`` (one person)."""
        if keypoints_visible is None:
            keypoints_visible = np.ones(keypoints.shape[:2], dtype=np.float32)
        target = self.encode_batch(
            torch.as_tensor(keypoints), torch.as_tensor(keypoints_visible)
        )
        return dict(
            heatmaps=target["heatmaps"][0].float().numpy(),
            keypoint_weights=target["weights"].float().numpy(),
        )

    def decode(self, encoded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """MMPose's single-sample form of ``decode_batch``: ``(K, h, w)`` heatmaps."""
        keypoints, scores = self.decode_batch(torch.as_tensor(encoded)[None])
        return keypoints.numpy(), scores.numpy()


def round_cells(cells: Tensor) -> Tensor:
    """Nearest cell; halves go up, as in MMPose."""
    return torch.floor(cells + 0.5)
