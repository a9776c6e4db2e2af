"""AP and errors of parts of the evaluation: each keypoint alone, persons by size."""

from dataclasses import replace

import numpy as np
import pandas as pd

from stages.compare.statistics.bootstrap import accumulate
from stages.compare.statistics.evaluations import Evaluation
from stages.compare.statistics.matching import EVERYBODY, match
from stages.compare.statistics.persons import Truth

SIZES = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}
"""COCO's ranges of a person's area in image px squared."""
NAMES = ["key", "decoder", "boxes"]
FIGURES = ["AP", "PCK", "error_px", "count"]


def by_keypoint(one: Evaluation) -> pd.DataFrame:
    """COCO's AP where only this keypoint is labelled, its PCK and error in input px.

    ``count`` is of labelled keypoints.
    """
    rows = []
    for n, name in enumerate(one.truth.keypoint_set.names):
        alone = np.zeros_like(one.truth.labelled)
        alone[:, n] = one.truth.labelled[:, n]
        truth = replace(one.truth, labelled=alone)
        chosen = alone & ~one.truth.crowd[:, None]
        rows.append({"keypoint": name} | _figures(one, truth, chosen))
    return _frame(one, "keypoint", rows)


def by_size(one: Evaluation) -> pd.DataFrame:
    """COCO's AP in each of its ranges of area, PCK and error of persons in it.

    ``count`` is of persons with a labelled keypoint.
    """
    rows = []
    for name, areas in SIZES.items():
        inside = (one.truth.area >= areas[0]) & (one.truth.area <= areas[1])
        chosen = one.truth.labelled & (inside & ~one.truth.crowd)[:, None]
        figures = _figures(one, one.truth, chosen, areas)
        figures["count"] = int(chosen.any(axis=1).sum())
        rows.append({"size": name} | figures)
    return _frame(one, "size", rows)


def _figures(
    one: Evaluation, truth: Truth, chosen: np.ndarray, areas: tuple = EVERYBODY
) -> dict[str, float]:
    """Figures of the chosen keypoints ``(G, K)``; NaN where there are none."""
    once = np.ones((1, len(truth.images)), np.int32)
    precision, _ = accumulate(match(truth, one.poses, areas=areas), once)
    figures = {"AP": precision.mean(), "PCK": np.nan, "error_px": np.nan}
    if one.pairs is not None:
        counted = chosen[one.pairs.person]
        if counted.any():
            figures["PCK"] = 100 * one.pairs.correct[counted].mean()
            figures["error_px"] = one.pairs.error[counted].mean()
    return figures | {"count": int(chosen.sum())}


def _frame(one: Evaluation, part: str, rows: list[dict]) -> pd.DataFrame:
    names = dict(zip(NAMES, (one.key, one.decoder, one.boxes), strict=True))
    return pd.DataFrame([names | row for row in rows])[[*NAMES, part, *FIGURES]]
