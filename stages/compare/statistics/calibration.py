"""Does a person's score predict the OKS that its pose reaches?"""

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from stages.compare.statistics.evaluations import Evaluation

BINS = np.linspace(0, 1, 11)
COLUMNS = [
    "key", "decoder", "low", "high", "score", "oks", "count", "ece", "correlation",
]  # fmt: skip


def calibration(one: Evaluation) -> pd.DataFrame:
    """Mean score and mean OKS of the persons whose score lies in each tenth.

    ``ece`` is the expected calibration error (Guo et al., ICML 2017, eq. 5, with the
    OKS for the accuracy), ``correlation`` Spearman's between score and OKS, of all
    persons: AP needs the order alone, what reads the score needs its value too.
    """
    person, keypoints = one.pairs.person, one.pairs.keypoints
    score, oks = one.pairs.score, person_oks(one, person, keypoints)
    known = ~np.isnan(oks)
    score, oks = score[known], oks[known]
    place = np.clip(np.digitize(score, BINS) - 1, 0, len(BINS) - 2)
    count = np.bincount(place, minlength=len(BINS) - 1)
    with np.errstate(invalid="ignore"):
        mean_score = np.bincount(place, score, len(BINS) - 1) / count
        mean_oks = np.bincount(place, oks, len(BINS) - 1) / count
    frame = pd.DataFrame(
        {
            "key": one.key,
            "decoder": one.decoder,
            "low": BINS[:-1].round(1),
            "high": BINS[1:].round(1),
            "score": mean_score,
            "oks": mean_oks,
            "count": count,
            "ece": np.nansum(count * np.abs(mean_score - mean_oks)) / max(len(oks), 1),
            "correlation": rank_correlation(score, oks),
        }
    )
    return frame[frame["count"] > 0][COLUMNS]


def person_oks(
    one: Evaluation, person: np.ndarray, keypoints: np.ndarray
) -> np.ndarray:
    """OKS ``(N,)`` of each pose with its person; NaN without labelled keypoints."""
    truth = one.truth
    square = ((keypoints - truth.keypoints[person]) ** 2).sum(axis=-1)
    area = truth.area[person, None] + np.spacing(1)
    alike = np.exp(-square / truth.variance / area / 2)
    labelled = truth.labelled[person]
    with np.errstate(invalid="ignore"):
        return (alike * labelled).sum(axis=1) / labelled.sum(axis=1)


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's; NaN where one of them does not vary."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])
