"""The latest coarse errors of a training, which a density is fitted to."""

import torch
from torch import Tensor, nn

CAPACITY = 4096
"""Some eight batches of 32 persons with 17 keypoints."""


class CoarseErrors(nn.Module):
    """Ring buffer of ``argmax P - argmax Y`` in cells; saved with the checkpoint.

    Keypoints that are not learnt are kept with weight 0 rather than left out: that
    keeps every shape fixed, and the device need not wait for the host.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("values", torch.zeros(CAPACITY, 2))
        self.register_buffer("weights", torch.zeros(CAPACITY))
        self.position = 0

    def add(self, errors: Tensor, weights: Tensor) -> None:
        """Keep ``(N, K, 2)`` with weights ``(N, K)``, over the oldest ones."""
        errors, weights = (
            errors.flatten(0, -2)[-CAPACITY:],
            weights.flatten()[-CAPACITY:],
        )
        rows = torch.arange(len(errors), device=self.values.device) + self.position
        self.values[rows % CAPACITY] = errors.to(self.values)
        self.weights[rows % CAPACITY] = weights.to(self.weights)
        self.position = (self.position + len(errors)) % CAPACITY

    def latest(self) -> tuple[Tensor, Tensor]:
        """Errors ``(CAPACITY, 2)`` in cells and their weights ``(CAPACITY,)``."""
        return self.values, self.weights

    def get_extra_state(self) -> Tensor:
        """Where the next errors go."""
        return torch.tensor(self.position)

    def set_extra_state(self, state: Tensor) -> None:
        """Go on there."""
        self.position = int(state)
