"""What a cell costs: size, operations, time per person, time of its training."""

import numpy as np
import pandas as pd

from stages.compare.rows import Results, read_csv

TIMES = ["decoder", "own_decoder", "boxes", "network_s", "decoder_s", "persons_per_s"]
"""Columns of a cell's own metrics.csv."""
COLUMNS = ["key", "parameters", "gmacs", "network_ms", "decode_ms", "train_s"]


def costs(results: Results) -> pd.DataFrame:
    """One row per finished cell, with its own decoder in ground-truth boxes.

    Milliseconds are per person on the machine that evaluated, in batches, both passes
    of the flip test included; ``train_s`` is the sum of the epochs' seconds, without
    validation, NaN where there is no history.
    """
    own = results.rows[results.rows["own_decoder"]].drop_duplicates("key")
    rows = []
    for row in own.itertuples():
        rows.append(
            {"key": row.key, "parameters": row.parameters, "gmacs": row.gmacs}
            | _milliseconds(results, row.key)
            | {"train_s": _train_seconds(results, row.key)}
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def _milliseconds(results: Results, key: str) -> dict[str, float]:
    """Network and decoder apart, per person."""
    path = results.root / "results" / "cells" / key / "metrics.csv"
    times = read_csv(path, TIMES)
    own = times[times["own_decoder"].astype(bool)].iloc[0]
    # evaluate divides the persons by both times.
    persons = own["persons_per_s"] * (own["network_s"] + own["decoder_s"])
    return {
        "network_ms": 1000 * own["network_s"] / persons,
        "decode_ms": 1000 * own["decoder_s"] / persons,
    }


def _train_seconds(results: Results, key: str) -> float:
    path = results.root / "runs" / key / "history.csv"
    if not path.exists():
        return np.nan
    return float(read_csv(path, ["seconds"])["seconds"].sum())
