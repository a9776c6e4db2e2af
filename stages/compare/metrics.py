"""The metrics of the tables: a new one is one line of METRICS."""

from dataclasses import dataclass

import pandas as pd

ABSENT = "–"
"""What stands where there is no figure."""


@dataclass(frozen=True)
class Metric:
    """How one column of metrics.csv is shown.

    Attributes:
        column: its name in metrics.csv.
        label: its heading, with the unit.
        format: a format specification for one value.
        better: 1 where higher is better, -1 where lower is; decides what is bold.
        scale: what a value is multiplied with before it is shown.
        spread: whether it differs from seed to seed, so that its deviation is told.
    """

    column: str
    label: str
    format: str
    better: int
    scale: float = 1.0
    spread: bool = True

    def text(self, value: float, deviation: float = float("nan")) -> str:
        """Show ``value``, and ``± deviation`` where that is a number."""
        if pd.isna(value):
            return ABSENT
        shown = format(value * self.scale, self.format)
        if pd.isna(deviation):
            return shown
        return f"{shown} ± {format(deviation * self.scale, self.format)}"


METRICS = (
    Metric("AP", "AP", ".1f", 1),
    Metric("AP50", "AP50", ".1f", 1),
    Metric("AP75", "AP75", ".1f", 1),
    Metric("APM", "APM", ".1f", 1),
    Metric("APL", "APL", ".1f", 1),
    Metric("AR", "AR", ".1f", 1),
    Metric("PCKh", "PCKh@0.5", ".1f", 1),
    Metric("PCKh@0.1", "PCKh@0.1", ".1f", 1),
    Metric("PCK", "PCK", ".1f", 1),
    Metric("error_px", "error (px)", ".2f", -1),
    Metric("error_percent", "error (% of height)", ".2f", -1),
    Metric("parameters", "parameters (M)", ".2f", -1, 1e-6, spread=False),
    Metric("gmacs", "GMACs", ".3f", -1, spread=False),
    Metric("persons_per_s", "persons/s", ",.0f", 1, spread=False),
)

AP = METRICS[0]
QUALITY = tuple(metric for metric in METRICS if metric.spread)
