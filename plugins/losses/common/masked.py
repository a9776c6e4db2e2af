"""Means over what is labelled."""

from torch import Tensor

from plugins.distributed import shared_count


def masked_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean of ``(N, K)`` values over keypoints of weight 1; 0 where there is none.

    Values of the others may be anything, NaN included: they are never multiplied.
    Where several processes train, the average of what they get is the whole batch's.
    """
    known = weights > 0
    total = values.masked_fill(~known, 0.0).sum()
    return total / shared_count(known.sum())
