"""The coarse error's density as a mixture of Gaussians, by steps of EM in a batch."""

import math

import torch
from torch import Tensor, nn

from plugins.losses.cal.window import normalise, window_points

STEPS = 2
"""EM iterations per batch; it starts from the mixture of the batch before."""
SMALLEST_VARIANCE = 1 / 12
"""In cells squared, in any direction: that of an error anywhere within its cell. Coarse
errors are whole cells, and a component that holds only zeros would vanish."""
SMALLEST_SHARE = 1e-3


class MixtureDensity(nn.Module):
    """Gaussian mixture over errors ``(.., 2)`` in cells; state is in the checkpoint.

    The components start around no error, each twice as wide as the one before: a core
    of small errors and ever wider tails, which is what coarse errors look like.

    Args:
        components: number of Gaussians; 1 is the paper's, in closed form.
    """

    def __init__(self, components: int) -> None:
        super().__init__()
        if components < 1:
            raise ValueError(f"components {components}: expected at least 1")
        variances = 4.0 ** torch.arange(components)
        self.register_buffer("shares", torch.full((components,), 1 / components))
        self.register_buffer("means", torch.zeros(components, 2))
        self.register_buffer("covariances", variances[:, None, None] * torch.eye(2))
        self.register_buffer("window", torch.ones(7, 7))

    @torch.no_grad()
    def learn(self, errors: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """Fit to ``errors (B, 2)`` with ``weights (B,)``; gives no loss term."""
        for _ in range(1 if len(self.shares) == 1 else STEPS):
            self._step(errors, weights)
        self.window.copy_(normalise(self.log_density(window_points(errors))))
        return {}

    def _step(self, errors: Tensor, weights: Tensor) -> None:
        """One iteration: responsibilities, then weighted moments."""
        parts = self._log_parts(errors).softmax(-1) * weights[:, None]
        count = parts.sum(0)
        total = count.sum()
        enough = count > SMALLEST_SHARE * total.clamp_min(1e-6)
        safe = count.clamp_min(1e-6)[:, None]
        means = (parts.T @ errors) / safe
        centred = errors[:, None] - means
        outer = torch.einsum("bc,bci,bcj->cij", parts, centred, centred)
        covariances = outer / safe[..., None]
        lacking = (SMALLEST_VARIANCE - smallest_variance(covariances)).clamp_min(0)
        covariances = covariances + torch.diag_embed(lacking[:, None].expand(-1, 2))
        shares = (count / total.clamp_min(1e-6)).clamp_min(SMALLEST_SHARE)
        # A component that explains nothing stays where it is.
        keep = enough[:, None]
        self.means.copy_(torch.where(keep, means, self.means))
        kept = torch.where(keep[..., None], covariances, self.covariances)
        self.covariances.copy_(kept)
        self.shares.copy_(torch.where(total > 0, shares / shares.sum(), self.shares))

    def log_density(self, errors: Tensor) -> Tensor:
        """Log density ``(B,)`` at errors ``(B, 2)``, per cell squared."""
        return self._log_parts(errors).logsumexp(-1)

    def _log_parts(self, errors: Tensor) -> Tensor:
        """Log of each component's share times its density, ``(B, C)``."""
        xx, xy = self.covariances[:, 0, 0], self.covariances[:, 0, 1]
        yy = self.covariances[:, 1, 1]
        determinant = xx * yy - xy.square()
        dx, dy = (errors[:, None] - self.means).unbind(-1)
        distance = yy * dx.square() - 2 * xy * dx * dy + xx * dy.square()
        exponent = -0.5 * distance / determinant
        return (
            exponent + (self.shares / determinant.sqrt()).log() - math.log(2 * math.pi)
        )


def smallest_variance(covariances: Tensor) -> Tensor:
    """Smaller eigenvalue ``(C,)`` of ``(C, 2, 2)``, in closed form."""
    xx, xy = covariances[:, 0, 0], covariances[:, 0, 1]
    yy = covariances[:, 1, 1]
    return (xx + yy) / 2 - torch.hypot((xx - yy) / 2, xy)
