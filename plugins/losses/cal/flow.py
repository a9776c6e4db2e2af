"""The coarse error's density as RLE's normalising flow (arXiv 2107.11291)."""

import torch
from torch import Tensor, nn

from plugins.losses.cal.window import normalise, window_points
from plugins.losses.common.flow import Flow
from plugins.losses.common.masked import masked_mean

SCALE = 2.0
"""Cells that one unit of the flow's normal prior stands for at the start."""
SAMPLE = 128
"""Errors that the flow learns from in a batch, drawn from the latest ones."""
EVERY = 4
"""Batches from one learning step to the next: keeps its cost below 5 % of a step."""


class FlowDensity(nn.Module):
    """RealNVP over errors ``(.., 2)`` in cells, learnt beside the network.

    Its likelihood is a loss term of its own: no gradient reaches the network, and the
    network's none the flow. Errors are whole cells; a uniform number of one cell's
    width is added to each, without which the density would grow at the cells' centres.

    Where several processes train, all learn from the same errors and draw the same
    sample.
    """

    replicated = True

    def __init__(self) -> None:
        super().__init__()
        self.flow = Flow()
        self.register_buffer("window", torch.ones(7, 7))
        self.batches = 0

    def learn(self, errors: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """Negative log-likelihood of a sample of ``errors (B, 2)``; 0 in between."""
        self.batches += 1
        if (self.batches - 1) % EVERY:
            return {"flow": errors.new_zeros(())}
        with torch.no_grad():
            points = window_points(errors) / SCALE
            self.window.copy_(normalise(self.flow.log_prob(points)))
        # Multinomial would wait for the device to check that weights are positive.
        rows = (weights + 1e-9).log() - torch.empty_like(weights).exponential_().log()
        rows = rows.topk(SAMPLE).indices
        sample = errors[rows] + torch.rand_like(errors[rows]) - 0.5
        values = -self.flow.log_prob(sample / SCALE)
        return {"flow": masked_mean(values, weights[rows])}

    def get_extra_state(self) -> Tensor:
        """Batches seen."""
        return torch.tensor(self.batches)

    def set_extra_state(self, state: Tensor) -> None:
        """Go on there."""
        self.batches = int(state)
