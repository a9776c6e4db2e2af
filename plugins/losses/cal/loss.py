"""Heatmap and weighted offset loss of CAL, with five ways to weight the offsets."""

import torch
from torch import Tensor, nn

from plugins.codecs.common.codec import Outputs
from plugins.codecs.common.heatmap import round_cells
from plugins.codecs.common.offsets import OffsetCodec
from plugins.distributed import global_batch
from plugins.losses.cal.errors import CoarseErrors
from plugins.losses.cal.flow import FlowDensity
from plugins.losses.cal.mixture import MixtureDensity
from plugins.losses.cal.window import spread_window
from plugins.registry import LOSSES

WEIGHTINGS = ("disc", "gt", "pred", "gmm", "flow")


@LOSSES.register_module("cal")
class CALLoss(nn.Module):
    """``0.5 MSE(v P, v Y) + offset_weight L1(v A Ohat, v A O)``, means over all cells.

    ``A`` is the weight of a cell's offset, by ``weighting``:

    * ``disc``: 1 where offsets are learnt;
    * ``gt``: a Gaussian around the keypoint, inside the disc;
    * ``pred``: the predicted heatmap itself, inside the disc, scaled to at most 1;
    * ``gmm``: the density of the coarse error ``argmax P - argmax Y``, a Gaussian
      mixture (the paper's is one component), on a window around the keypoint's cell;
    * ``flow``: the same with RLE's normalising flow as the density.

    Where nothing useful can be predicted yet the last three would weight noise: they
    start as ``disc``.

    Args:
        weighting: one of the five.
        offset_weight: lambda (released: 0.7 for W32, 1.0 for W48).
        warmup: share of the training in which gmm, flow and pred are ``disc``.
        mask_sigma: of ``gt``, in cells.
        components: of ``gmm``.
    """

    bounded = True

    def __init__(
        self,
        weighting: str,
        offset_weight: float,
        warmup: float,
        mask_sigma: float,
        components: int,
    ) -> None:
        super().__init__()
        if weighting not in WEIGHTINGS:
            raise ValueError(
                f"weighting {weighting!r}: expected one of {', '.join(WEIGHTINGS)}"
            )
        if not 0 <= warmup <= 1:
            raise ValueError(f"warmup {warmup}: expected a share of the training")
        if mask_sigma <= 0 or offset_weight < 0:
            raise ValueError(
                f"mask_sigma {mask_sigma}, offset_weight {offset_weight}: expected "
                "positive numbers"
            )
        self.weighting, self.offset_weight = weighting, offset_weight
        self.warmup, self.mask_sigma = warmup, mask_sigma
        self.terms = ("heatmap", "offset")
        self.density = None
        if weighting in ("gmm", "flow"):
            self.errors = CoarseErrors()
            flow = weighting == "flow"
            self.density = FlowDensity() if flow else MixtureDensity(components)
        if weighting == "flow":
            self.terms += ("flow",)
            self.bounded = False
        self.progress = 0.0

    def start_epoch(self, progress: float) -> None:
        """Take over the share of the training that is done."""
        self.progress = progress

    def forward(
        self, outputs: Outputs, target: Outputs, codec: OffsetCodec
    ) -> dict[str, Tensor]:
        """The two terms; with ``flow`` also the likelihood that it learns by."""
        found = outputs["heatmaps"].detach()
        weights = target["weights"][..., None, None]
        heatmap = (outputs["heatmaps"] - target["heatmaps"]) * weights
        terms = {"heatmap": 0.5 * heatmap.square().mean()}
        cells = None
        if self.density is not None:
            cells = self._cells(target, codec)
            if self.training:
                terms |= self._learn_density(found, cells, target["weights"])
        trust = self._offset_weights(found, target, codec, cells)
        difference = (outputs["offsets"] - target["offsets"]) * trust[:, :, None]
        terms["offset"] = self.offset_weight * difference.abs().mean()
        return terms

    def _offset_weights(
        self, found: Tensor, target: Outputs, codec: OffsetCodec, cells: Tensor | None
    ) -> Tensor:
        """``A (N, K, h, w)`` between 0 and 1; 0 where no offset is learnt."""
        mask = target["mask"]
        if self.weighting == "gt":
            x, y = codec.distances(target["keypoints"])
            distance = x.square() + y.square()
            return mask * torch.exp(-distance / (2 * self.mask_sigma**2))
        if self.weighting == "disc" or self.progress < self.warmup:
            return mask
        if self.weighting == "pred":
            confident = found.clamp_min(0) * mask
            largest = confident.amax((-2, -1), keepdim=True)
            return confident / largest.clamp_min(1e-6)
        return mask * spread_window(self.density.window, cells, codec.heatmap_size)

    def _cells(self, target: Outputs, codec: OffsetCodec) -> Tensor:
        """Largest cell ``(N, K, 2)`` of each target: the nearest to the keypoint."""
        cells = round_cells(codec.to_cells(target["keypoints"]))
        x, y = cells.unbind(-1)
        width, height = codec.heatmap_size
        return torch.stack((x.clamp(0, width - 1), y.clamp(0, height - 1)), -1)

    @torch.no_grad()
    def _remember(self, found: Tensor, cells: Tensor, weights: Tensor) -> None:
        index = found.flatten(-2).argmax(-1)
        width = found.shape[-1]
        peaks = torch.stack((index % width, index // width), -1)
        batch = global_batch(torch.cat((peaks - cells, weights[..., None]), -1))
        self.errors.add(batch[..., :2], batch[..., 2])

    def _learn_density(
        self, found: Tensor, cells: Tensor, weights: Tensor
    ) -> dict[str, Tensor]:
        self._remember(found, cells, weights)
        return self.density.learn(*self.errors.latest())
