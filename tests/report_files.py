"""Plausible statistics of finished cells, for tests of the page made from them."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from plugins.datasets.keypoint_sets import COCO17
from stages.compare.rows import BLOCK, Results

SPREAD = {"AP": 1.1, "AP50": 1.2, "AP75": 1.4, "AR": 1.0, "PCK": 0.7, "error_px": 0.05}
KINDS = {"jitter": 21.0, "inversion": 4.0, "swap": 3.0, "miss": 9.0, "good": 63.0}
ALIKE = 1.0
"""AP below which these differences are not significant."""


def write_statistics(results: Results, folder: Path) -> None:
    """Every table that compare's statistics write, from the rows alone."""
    frames = {
        "intervals": intervals(results),
        "differences": differences(results),
        "keypoints": parts(results, "keypoint", COCO17.names),
        "sizes": parts(results, "size", ("small", "medium", "large")),
        "error_kinds": error_kinds(results),
        "calibration": calibration(results),
        "cost": cost(results),
        "claims": claims(results),
    }
    for name, frame in frames.items():
        frame.to_csv(folder / f"{name}.csv", index=False)


def own_rows(results: Results) -> pd.DataFrame:
    return results.rows[results.rows["own_decoder"]]


def intervals(results: Results) -> pd.DataFrame:
    names = [*BLOCK, "size", "label", "decoder"]
    means = results.rows.groupby(names, sort=False)[list(SPREAD)].mean().reset_index()
    rows = means.melt(names, list(SPREAD), "metric", "value")
    half = 1.96 * rows["metric"].map(SPREAD)
    bounds = {"low": rows["value"] - half, "high": rows["value"] + half}
    return rows.assign(**bounds)


def differences(results: Results) -> pd.DataFrame:
    rows = []
    groups = own_rows(results).groupby([*BLOCK, "size"], sort=False)
    for place, group in groups:
        known = dict(zip([*BLOCK, "size"], place, strict=True))
        means = group.groupby("label", sort=False)["AP"].mean()
        seeds = group["seed"].nunique()
        for a, b in combinations(means.index, 2):
            off = means[a] - means[b]
            p = 0.4 if abs(off) < ALIKE else 0.0004
            rows.append(
                known
                | {"metric": "AP", "a": a, "decoder_a": a, "b": b, "decoder_b": b}
                | {"difference": off, "low": off - 0.9, "high": off + 0.9}
                | {"p": p, "p_corrected": min(1.0, 3 * p), "seeds": seeds}
                | {"seed_spread": 0.3 if seeds > 1 else np.nan}
                | {"single_seed": seeds == 1, "same_checkpoint": False}
            )
    return pd.DataFrame(rows)


def parts(results: Results, column: str, names: tuple[str, ...]) -> pd.DataFrame:
    rows = []
    for row in own_rows(results).itertuples():
        for n, name in enumerate(names):
            ap = row.AP + 12 * np.sin(1.7 * n)
            rows.append(
                {"key": row.key, "decoder": row.decoder, "boxes": row.boxes}
                | {column: name, "AP": ap, "PCK": ap + 20, "error_px": 3.0}
                | {"count": 400 - 10 * n}
            )
    return pd.DataFrame(rows)


def error_kinds(results: Results) -> pd.DataFrame:
    rows = own_rows(results).drop_duplicates("key")
    table = [
        (row.key, row.decoder, kind, share, 0 if kind == "good" else share / 3)
        for row in rows.itertuples()
        for kind, share in KINDS.items()
    ]
    return pd.DataFrame(table, columns=["key", "decoder", "kind", "share", "AP_gain"])


def calibration(results: Results) -> pd.DataFrame:
    rows = []
    for row in own_rows(results).drop_duplicates("key").itertuples():
        for low in np.arange(0.1, 0.8, 0.1).round(1):
            oks = (low + 0.05) ** 1.5 + row.AP / 1000
            rows.append(
                {"key": row.key, "decoder": row.decoder, "low": low, "high": low + 0.1}
                | {"score": low + 0.05, "oks": oks, "count": 40}
                | {"ece": 0.12, "correlation": 0.6}
            )
    return pd.DataFrame(rows)


def cost(results: Results) -> pd.DataFrame:
    rows = own_rows(results).drop_duplicates("key")
    known = rows[["key", "parameters", "gmacs"]]
    network = 1000 / rows["persons_per_s"]
    return known.assign(network_ms=network, decode_ms=0.05, train_s=180.0)


def claims(results: Results) -> pd.DataFrame:
    columns = (
        "claim title statement source setting verdict metric effect low high p seeds "
        "cells missing command"
    ).split()
    cells = " ".join(results.cells)
    none = (np.nan,) * 5
    rows = [
        ("dark_quarter", "DARK beats the quarter shift", "Without training again, the "
         "Taylor step has more AP.", "arXiv 1910.06278", "64x48", "supported", "AP",
         2.1, 1.2, 3.0, 0.001, 2, cells, "", ""),
        ("rle_integral", "RLE beats integral regression", "RLE has more AP than IPR.",
         "arXiv 2107.11291", "64x48", "undecided", "AP", *none, "", "rle, ipr at 64x48",
         "python -m stages.sweep -m method=rle,ipr size=64x48"),
        ("one_gaussian", "One Gaussian is enough", "More components do not gain AP.",
         "arXiv 2109.09090", "64x48", "contradicted", "AP", -1.4, -2.2, -0.6, 0.004, 2,
         cells, "", ""),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)
