"""Bone loss: distances between keypoints, as they are and as they are predicted."""

import torch
from torch import Tensor, nn

from plugins.codecs.common.codec import Codec, Outputs
from plugins.datasets.keypoint_sets import KeypointSet
from plugins.losses.common.masked import masked_mean
from plugins.registry import LOSSES

NO_HEATMAPS = ("logits", "bins", "coordinates")
"""Kinds of output without heatmaps that could be compared with Gaussian ones."""
EPSILON = 1e-6
"""Under the root, whose slope is infinite at 0."""


@LOSSES.register_module("bone")
class BoneLoss(nn.Module):
    """Mean over pairs, both labelled, of ``| |p_i - p_j| - |g_i - g_j| |``.

    Args:
        weight: of this term.
        pairs: ``all`` pairs of keypoints, or the ``skeleton``'s edges.
        measured: ``coordinates`` by the codec's differentiable decode, in shares of the
            input's height; or ``heatmaps``: the Frobenius norm of the maps' difference.
        keypoint_set: whose pairs they are.
    """

    terms = ("bone",)
    bounded = True

    def __init__(
        self, weight: float, pairs: str, measured: str, keypoint_set: KeypointSet
    ) -> None:
        super().__init__()
        if pairs not in ("all", "skeleton"):
            raise ValueError(f"pairs {pairs!r}: expected all or skeleton")
        if measured not in ("coordinates", "heatmaps"):
            raise ValueError(f"measured {measured!r}: expected coordinates or heatmaps")
        if weight < 0:
            raise ValueError(f"weight {weight}: expected 0 or more")
        self.weight, self.measured = weight, measured
        count = len(keypoint_set)
        every = torch.triu_indices(count, count, 1)
        edges = torch.tensor(keypoint_set.skeleton).T
        chosen = every if pairs == "all" else edges
        self.register_buffer("pairs", chosen, persistent=False)

    def check(self, codec: Codec) -> None:
        """Refuse heatmaps where there are none.

        Raises:
            ValueError: the codec has no heatmaps.
        """
        if self.measured == "heatmaps" and codec.produces in NO_HEATMAPS:
            raise ValueError(
                f"bone loss on heatmaps: {type(codec).__name__} has none; expected "
                "auxiliary.measured=coordinates"
            )

    def forward(
        self, outputs: Outputs, target: Outputs, codec: Codec
    ) -> dict[str, Tensor]:
        """Mean over the pairs of all persons."""
        first, second = self.pairs
        known = target["weights"][:, first] * target["weights"][:, second]
        if self.measured == "coordinates":
            height = codec.last_pixel(target["keypoints"])[1]
            found = self._lengths(codec.soft_decode(outputs) / height)
            truth = self._lengths(target["keypoints"] / height)
        else:
            found = self._lengths(outputs["heatmaps"].flatten(-2))
            truth = self._lengths(target["heatmaps"].flatten(-2))
        values = (found - truth).abs()
        return {"bone": self.weight * masked_mean(values, known)}

    def _lengths(self, points: Tensor) -> Tensor:
        """Distances ``(N, pairs)`` between points ``(N, K, D)``.

        For maps, D is the number of cells: the Gram matrix avoids their differences.
        """
        first, second = self.pairs
        if points.shape[-1] == 2:
            squares = (points[:, first] - points[:, second]).square().sum(-1)
        else:
            products = points @ points.mT
            own = products.diagonal(dim1=-2, dim2=-1)
            squares = own[:, first] + own[:, second] - 2 * products[:, first, second]
        return (squares.clamp_min(0) + EPSILON).sqrt()
