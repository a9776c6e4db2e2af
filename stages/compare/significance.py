"""Which methods are as good as the best: not significantly different from it."""

from dataclasses import dataclass

import pandas as pd

from stages.compare.metrics import Metric
from stages.compare.rows import BLOCK

ALPHA = 0.05
"""Largest corrected p that counts as a difference."""


@dataclass(frozen=True)
class Standing:
    """How the methods of one block and size stand in one metric.

    Attributes:
        best: the method with the best mean, None where nothing competes.
        tied: those whose difference from it is not significant.
        untested: those whose difference from it nobody tested.
    """

    best: str | None = None
    tied: tuple[str, ...] = ()
    untested: tuple[str, ...] = ()

    @property
    def bold(self) -> set[str]:
        """What a table shows in bold."""
        return {self.best, *self.tied} - {None}


def stand(values: pd.Series, metric: Metric, pairs: pd.DataFrame | None) -> Standing:
    """Find the best method and those that cannot be told from it.

    Untested methods are tied where they read the same as the best.

    Args:
        values: of one metric by label, in one block and size; NaN does not compete.
        metric: says which direction is better.
        pairs: as `differences_of` gives them.
    """
    values = values.dropna()
    if len(values) < 2:
        return Standing()
    best = (values * metric.better).idxmax()
    p_of = _against(best, metric.column, pairs)
    shown = values.map(metric.text)
    tied, untested = [], []
    for label in values.index.drop(best):
        if label not in p_of:
            untested.append(label)
        if p_of.get(label, 0) > ALPHA or (
            label not in p_of and shown[label] == shown[best]
        ):
            tied.append(label)
    return Standing(best, tuple(tied), tuple(untested))


def differences_of(
    differences: pd.DataFrame | None, block: tuple, size: str, label: str = ""
) -> pd.DataFrame | None:
    """The tested differences of methods in one block and size, as a, b, p_corrected.

    With a label: of the decoders on that method's checkpoints.
    """
    if differences is None:
        return None
    keep = differences["size"] == size
    for column, value in zip(BLOCK, block, strict=True):
        keep &= differences[column] == value
    found = differences[keep]
    if not label:
        return found[found["a"] != found["b"]]
    found = found[(found["a"] == label) & (found["b"] == label)]
    return found.assign(a=found["decoder_a"], b=found["decoder_b"])


def _against(best: str, column: str, pairs: pd.DataFrame | None) -> dict[str, float]:
    """Corrected p of each method against the best one, whichever was named first."""
    if pairs is None:
        return {}
    rows = pairs[pairs["metric"] == column].dropna(subset="p_corrected")
    found = rows[["a", "b", "p_corrected"]].itertuples(index=False)
    return {(b if a == best else a): p for a, b, p in found if best in (a, b)}
