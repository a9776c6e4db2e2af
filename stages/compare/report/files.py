"""The tables in results/ that the page is made from, as far as they are there."""

from pathlib import Path

import pandas as pd

from stages.compare.rows import BLOCK, read_csv

CELL = ["key", "decoder", "boxes"]
COLUMNS = {
    "intervals": [*BLOCK, "size", "label", "decoder", "metric", "low", "high"],
    "differences": [
        *BLOCK, "size", "metric", "a", "decoder_a", "b", "decoder_b", "difference",
        "low", "high", "p", "p_corrected", "seeds", "seed_spread", "single_seed",
        "same_checkpoint",
    ],
    "keypoints": [*CELL, "keypoint", "AP", "PCK", "error_px", "count"],
    "sizes": [*CELL, "size", "AP", "PCK", "error_px", "count"],
    "error_kinds": ["key", "decoder", "kind", "share", "AP_gain"],
    "calibration": [
        "key", "decoder", "low", "high", "score", "oks", "count", "ece",
        "correlation",
    ],
    "cost": ["key", "parameters", "gmacs", "network_ms", "decode_ms", "train_s"],
    "claims": [
        "claim", "title", "statement", "source", "setting", "verdict", "metric",
        "effect", "low", "high", "p", "seeds", "cells", "missing", "command",
    ],
    "convergence": ["key", "label", "metric", "level", "epoch", "trained_s"],
    "codecs/oracle": ["codec", "implementation", "size", "mean_px", "p99_px"],
    "codecs/coarse_error": ["key", "within_1_cell", "std_x", "std_y"],
}  # fmt: skip
"""What is read of each: ``results/<name>.csv``."""

WORDS = (
    "metric a b decoder_a decoder_b keypoint kind claim title statement source setting "
    "verdict cells missing command codec implementation label"
).split()
FLAGS = ("same_checkpoint", "single_seed")

RENAMED = {"sizes": {"size": "person_size"}}
"""Of the person in the photo, not of the input."""


def read_files(folder: Path) -> dict[str, pd.DataFrame]:
    """Every table of `COLUMNS` that is there and has rows.

    Raises:
        StageError: a table lacks a column.
    """
    found = {}
    for name, columns in COLUMNS.items():
        path = folder / f"{name}.csv"
        if path.exists():
            frame = read_csv(path, columns)
            words = [column for column in WORDS if column in frame]
            frame = frame.astype(dict.fromkeys(words, object)).fillna(
                dict.fromkeys(words, "")
            )
            frame[words] = frame[words].astype(str)
            for flag in [column for column in FLAGS if column in frame]:
                frame[flag] = frame[flag].astype(str) == "True"
            if len(frame):
                found[name] = frame.rename(columns=RENAMED.get(name, {}))
    return found
