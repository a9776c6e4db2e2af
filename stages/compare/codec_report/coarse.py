"""The coarse error: from the keypoint's cell to the largest of the predicted map.

CAL (arXiv 2109.09090) weights its offsets by a Gaussian that is fitted to it.
"""

from dataclasses import dataclass
from zipfile import BadZipFile

import numpy as np
import pandas as pd
import torch
from scipy.stats import norm

from plugins.losses.cal.mixture import MixtureDensity
from stages.compare.rows import Results
from stages.files import StageError

MIXTURE = 3
ROUNDS = 150
"""Calls of two EM steps; the likelihood stands still well before."""


@dataclass(frozen=True)
class Fit:
    """A mixture of Gaussians over errors in cells, narrow components first.

    Attributes:
        shares: ``(C,)``.
        means: ``(C, 2)``.
        covariances: ``(C, 2, 2)``; whole cells count as spread over their area.
    """

    shares: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    @property
    def widths(self) -> np.ndarray:
        """Standard deviation ``(C,)`` in cells: root of the mean variance."""
        return np.sqrt(np.trace(self.covariances, axis1=1, axis2=2) / 2)

    def per_cell(self, cells: np.ndarray) -> np.ndarray:
        """Density ``(M,)`` at errors of so many cells, mean of x and y."""
        deviation = np.sqrt(np.diagonal(self.covariances, axis1=1, axis2=2))
        density = norm.pdf(cells[:, None, None], self.means, deviation)
        return density.mean(-1) @ self.shares


def read_coarse_errors(results: Results) -> dict[str, np.ndarray]:
    """Errors ``(M, 2)`` in cells of the labelled keypoints, by key.

    Methods without heatmaps have none, nor have evaluations that did not keep them.

    Raises:
        StageError: a file of predictions is broken.
    """
    found = {}
    for key in results.cells:
        path = results.root / "results" / "cells" / key / "predictions.npz"
        if key in results.missing or not path.exists():
            continue
        try:
            with np.load(path, allow_pickle=False) as file:
                errors = file["coarse_errors"] if "coarse_errors" in file else None
        except (ValueError, OSError, BadZipFile) as error:
            raise StageError(
                f"{path}: {error}; run python -m stages.evaluate {key} again"
            ) from None
        if errors is not None and np.isfinite(errors).any():
            errors = errors.reshape(-1, 2)
            found[key] = errors[np.isfinite(errors).all(1)]
    return found


def fit_mixture(errors: np.ndarray, components: int) -> Fit:
    """Fit the density that CAL's loss learns, to all errors ``(M, 2)`` at once."""
    points, counts = np.unique(errors, axis=0, return_counts=True)
    density = MixtureDensity(components)
    points, counts = torch.from_numpy(points).float(), torch.from_numpy(counts).float()
    for _ in range(ROUNDS if components > 1 else 1):
        density.learn(points, counts)
    order = density.covariances.diagonal(dim1=1, dim2=2).sum(1).argsort()
    parts = density.shares, density.means, density.covariances
    return Fit(*(part[order].double().numpy() for part in parts))


def coarse_table(results: Results) -> pd.DataFrame:
    """One row per cell with heatmaps: the coarse error of its labelled keypoints.

    ``mean``, ``std`` and the components' ``width`` are in cells; ``within_1_cell`` is
    the share whose largest cell is the keypoint's or one of its eight neighbours.
    """
    parts = range(1, MIXTURE + 1)
    columns = ["key", "method", "size", "keypoints", "mean_x", "mean_y", "std_x"]
    columns += ["std_y", "within_1_cell", *(f"share_{n}" for n in parts)]
    columns += [f"width_{n}" for n in parts]
    rows = []
    for key, errors in read_coarse_errors(results).items():
        fit = fit_mixture(errors, MIXTURE)
        near = (np.abs(errors) <= 1).all(1).mean()
        rows.append(
            [key, results.labels[key], results.cells[key]["size"], len(errors),
             *errors.mean(0, dtype=float), *errors.std(0, dtype=float), near,
             *fit.shares, *fit.widths]
        )  # fmt: skip
    return pd.DataFrame(rows, columns=columns).round(4)
