"""Automatic weighting of losses (Liebel and Koerner, arXiv 1805.06334, equation 4)."""

import torch
from torch import Tensor, nn


class AutomaticBalance(nn.Module):
    """``sum_i L_i / (2 c_i^2) + log(1 + c_i^2)`` with learnt ``c``, 1 at first.

    The optimizer must not decay ``c``: plugins/step.py sets that.

    Args:
        terms: names of the losses.
    """

    def __init__(self, terms: list[str]) -> None:
        super().__init__()
        self.c = nn.ParameterDict({name: torch.ones(()) for name in terms})

    def forward(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weighted terms, and ``balance``: what keeps the weights from vanishing."""
        squares = {name: self.c[name].square() for name in terms}
        weighted = {name: value / (2 * squares[name]) for name, value in terms.items()}
        return weighted | {"balance": sum(s.log1p() for s in squares.values())}
