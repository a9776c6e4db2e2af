"""Heatmap and offset map: the cell from one, the way to the keypoint from the other."""

import torch
from torch import Tensor

from plugins.codecs.common.codec import Outputs
from plugins.codecs.common.heatmap import HeatmapCodec, mean_cells, peak_weights
from plugins.codecs.common.peaks import cells_of, find_maxima
from plugins.constants import constant


class OffsetCodec(HeatmapCodec):
    """Keypoints <-> heatmaps ``(N, K, h, w)`` and offsets ``(N, K, 2, h, w)``.

    The offset of cell p is ``(mu - p) / unit`` where ``|mu - p| <= radius`` cells.

    Attributes:
        radius: of the disc around the keypoint where offsets are learnt, in cells.
        unit: cells that an offset of 1 stands for.
    """

    # The shift of one cell would have to be in the offsets as well.
    transforms = ("udp",)
    radius: float
    unit: float

    def encode_batch(self, keypoints: Tensor, visible: Tensor) -> Outputs:
        """Targets ``heatmaps``, ``offsets``, ``mask (N, K, h, w)`` and ``weights``.

        See ``HeatmapCodec.encode_batch``; the mask is the disc.
        """
        target = super().encode_batch(keypoints, visible)
        x, y = self.distances(target["keypoints"])
        labelled = target["weights"][..., None, None] > 0
        mask = ((x.square() + y.square()) <= self.radius**2) & labelled
        offsets = torch.stack(torch.broadcast_tensors(x, y), 2) * mask[:, :, None]
        return target | {"offsets": offsets / self.unit, "mask": mask.to(x)}

    def distances(self, keypoints: Tensor) -> tuple[Tensor, Tensor]:
        """Cells from each cell to the keypoint, ``(N, K, 1, w)`` and ``(N, K, h, 1)``.

        Args:
            keypoints: ``(N, K, 2)`` in input pixels.
        """
        width, height = self.heatmap_size
        mu = self.to_cells(keypoints)
        x = mu[..., 0, None] - torch.arange(width, device=mu.device)
        y = mu[..., 1, None] - torch.arange(height, device=mu.device)
        return x[..., None, :], y[..., :, None]

    @torch.no_grad()  # an argmax has no gradient, and the steps are taken in place
    def decode_batch(self, outputs: Outputs) -> tuple[Tensor, Tensor]:
        """Largest cell plus the offset there; never farther than the disc reaches."""
        heatmaps = self.locate(outputs["heatmaps"].float())
        index, scores = find_maxima(heatmaps)
        offsets = outputs["offsets"].flatten(-2)
        there = index[..., None, None].expand(-1, -1, 2, 1)
        step = offsets.gather(-1, there).float().view(-1, 2).T * self.unit
        step = torch.where(step.isfinite().all(0), step, 0.0)
        step *= self.radius / torch.hypot(*step).clamp_min(self.radius)
        cells = cells_of(index, self.heatmap_size) + step
        return self.to_pixels(cells, scores), scores

    def locate(self, heatmaps: Tensor) -> Tensor:
        """The maps whose largest cells are taken."""
        return heatmaps

    def soft_decode(self, outputs: Outputs) -> Tensor:
        """Mean, under the squared positive heatmap, of where each cell points to."""
        weights = peak_weights(outputs["heatmaps"])
        offsets = (outputs["offsets"].float() * weights[:, :, None]).sum((-2, -1))
        cells = mean_cells(weights) + offsets * self.unit
        return cells * self.pixels_per_cell(cells)

    def mirror(self, outputs: Outputs, flip_indices: list[int]) -> Outputs:
        """Mirror both; an offset to the left becomes one to the right."""
        offsets = outputs["offsets"].flip(-1)[:, flip_indices]
        sign = constant((-1.0, 1.0), offsets).view(2, 1, 1)
        mirrored = super().mirror(outputs, flip_indices)
        return mirrored | {"offsets": offsets * sign}
