"""The frames of results/: what was measured, with its uncertainty."""

from dataclasses import dataclass, fields

import pandas as pd

from stages.compare.rows import BLOCK, Results
from stages.compare.statistics.bootstrap import draw, interval
from stages.compare.statistics.calibration import COLUMNS as CALIBRATION
from stages.compare.statistics.calibration import calibration
from stages.compare.statistics.cost import costs
from stages.compare.statistics.differences import (
    differences,
    grouped,
    mean_samples,
)
from stages.compare.statistics.errors import COLUMNS as ERRORS
from stages.compare.statistics.errors import error_kinds
from stages.compare.statistics.evaluations import evaluations
from stages.compare.statistics.measure import METRICS, Sample, check, measure
from stages.compare.statistics.parts import FIGURES, NAMES, by_keypoint, by_size

STATISTICS = [
    "key", "label", "data", "size", "backbone", "decoder", "boxes", "seed", "metric",
    "value", "low", "high", "persons", "images",
]  # fmt: skip
INTERVALS = [*BLOCK, "size", "label", "decoder", "metric", "low", "high"]


@dataclass(frozen=True)
class Statistics:
    """Frames to be written as <name>.csv, and what later steps need.

    Attributes:
        statistics: a row per cell, decoder, boxes and metric, with its interval.
        differences: as `differences.differences`.
        keypoints, sizes: the own decoder's figures by keypoint, by a person's size.
        error_kinds, calibration: of the own decoder in ground-truth boxes.
        cost: a row per cell.
        intervals: of the means over seeds.
        samples: every measured decoder.
    """

    statistics: pd.DataFrame
    differences: pd.DataFrame
    keypoints: pd.DataFrame
    sizes: pd.DataFrame
    error_kinds: pd.DataFrame
    calibration: pd.DataFrame
    cost: pd.DataFrame
    intervals: pd.DataFrame
    samples: list[Sample]

    def files(self) -> dict[str, pd.DataFrame]:
        """The frames that are written, by name."""
        return {
            field.name: getattr(self, field.name).round(6)
            for field in fields(self)
            if field.name != "samples"
        }


def compute(results: Results) -> Statistics:
    """Everything that the finished cells at hand allow.

    Cells whose predictions or annotations are not at hand have no rows.
    """
    samples: list[Sample] = []
    keypoints, sizes, kinds, calibrations = [], [], [], []
    ap_of = results.rows.set_index(["key", "decoder", "boxes"])["AP"]
    weights = {}
    for one in evaluations(results):
        images = len(one.truth.images)
        if images not in weights:
            weights[images] = draw(images)
        sample = measure(one, weights[images])
        check(sample, ap_of[one.key, one.decoder, one.boxes])
        samples.append(sample)
        if one.own:
            keypoints.append(by_keypoint(one))
            sizes.append(by_size(one))
            if one.pairs is not None:
                kinds.append(error_kinds(one, sample.values["AP"][0]))
                calibrations.append(calibration(one))
    return Statistics(
        statistics=_statistics(results, samples),
        differences=differences(results, samples),
        keypoints=_stacked(keypoints, [*NAMES, "keypoint", *FIGURES]),
        sizes=_stacked(sizes, [*NAMES, "size", *FIGURES]),
        error_kinds=_stacked(kinds, ERRORS),
        calibration=_stacked(calibrations, CALIBRATION),
        cost=costs(results),
        intervals=_intervals(results, samples),
        samples=samples,
    )


def _statistics(results: Results, samples: list[Sample]) -> pd.DataFrame:
    """A row per sample and metric."""
    rows = []
    for one in samples:
        cell = results.cells[one.key]
        known = {name: cell[name] for name in ("data", "size", "backbone", "seed")}
        known |= {"key": one.key, "label": results.labels[one.key]}
        known |= {"decoder": one.decoder, "boxes": one.boxes}
        known |= {"persons": one.persons, "images": one.images}
        for metric, values in one.values.items():
            low, high = interval(values, one.images)
            figures = {"value": values[0], "low": low, "high": high}
            rows.append(known | {"metric": metric} | figures)
    return pd.DataFrame(rows, columns=STATISTICS)


def _intervals(results: Results, samples: list[Sample]) -> pd.DataFrame:
    """Of each series' mean over seeds."""
    rows = []
    for place, group in grouped(results, samples):
        for series in group:
            names = {"label": series.label, "decoder": series.decoder}
            for metric in METRICS:
                drawn = mean_samples(series, metric)
                if drawn is not None:
                    images = next(iter(series.seeds.values())).images
                    low, high = interval(drawn, images)
                    figures = {"metric": metric, "low": low, "high": high}
                    rows.append(place | names | figures)
    return pd.DataFrame(rows, columns=INTERVALS)


def _stacked(frames: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    if not frames:
        return pd.DataFrame(columns=columns)
    return pd.concat(frames, ignore_index=True)[columns]
