"""One row per way to read a small person, and method."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import yaml

from plugins.sizes import parse_size
from stages.compare.rows import COLUMNS, Results, read_csv
from stages.compare.super_resolution.quality import store_quality
from stages.files import hash_of

GROUP = ["data", "size", "backbone", "schedule", "boxes"]
"""What the rows of one table have in common."""
TREATMENT = ["trained_on", "tested_on", "seen"]
ORDER = ["none", "bicubic", "lanczos", "sr_compact"]
"""Of upscalings; others come after these, and sharp last."""
COST = ["upscaler_gmacs", "upscaler_ms", "gmacs", "network_ms", "PSNR", "SSIM"]
MEASURED = ["AP", "PCK", "error_percent"]
FILE = [
    *GROUP, *TREATMENT, "treatment", "method", "label", "seeds",
    "AP", "AP_std", "PCK", "PCK_std", "error_percent", "error_percent_std",
    *COST, "total_gmacs", "total_ms",
]  # fmt: skip
"""Columns of super_resolution.csv. AP and PCK in percent, PSNR in dB; costs per person.

seen: size of what the network reads. GMACs without flip test; milliseconds with it.
"""


def collect_treatments(results: Results) -> pd.DataFrame:
    """Own decoders' rows of every cell and transfer, with what it was read from.

    Only of the data, sizes and backbones of which something is upscaled. Added are the
    columns of ``TREATMENT``, ``treatment``, ``store`` and the costs.
    """
    params = yaml.safe_load((results.root / "params.yaml").read_text())
    rows = pd.concat([_trained(results), *_transferred(results, params)])
    groups = rows.loc[rows["trained_on"].ne("none"), GROUP].drop_duplicates()
    rows = rows.merge(groups, on=GROUP)
    if rows.empty:
        return rows.reindex(columns=list(dict.fromkeys([*rows, *FILE])))
    costs = {
        store: _describe_store(results.root, store, params)
        for store in rows["store"].unique()
    }
    rows = rows.join(pd.DataFrame.from_dict(costs, "index"), on="store")
    rows["network_ms"] = 1000 / rows["persons_per_s"]
    rows["total_gmacs"] = rows["upscaler_gmacs"] + rows["gmacs"]
    rows["total_ms"] = rows["upscaler_ms"] + rows["network_ms"]
    rows["treatment"] = [name_treatment(row) for row in rows.itertuples()]
    return rows


def summarise_treatments(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds in the columns ``FILE``; ordered, the upper bound last.

    Args:
        rows: as ``collect_treatments`` gives them.
    """
    groups = rows.groupby([*GROUP, *TREATMENT, "treatment", "method", "label"])
    mean = groups[[*MEASURED, *COST, "total_gmacs", "total_ms"]].mean()
    deviation = groups[MEASURED].std(ddof=1).add_suffix("_std")
    seeds = groups["seed"].nunique().rename("seeds")
    found = pd.concat([mean, deviation, seeds], axis=1).reset_index()
    found["transfer"] = found["trained_on"].ne(found["tested_on"])
    found["bound"] = found["tested_on"].eq("sharp")
    found["place"] = found["tested_on"].map(_rank)
    order = [*GROUP, "bound", "transfer", "place", "label"]
    return found.sort_values(order, kind="stable")[FILE].reset_index(drop=True)


def name_treatment(row) -> str:
    """What stands in tables and legends, such as ``bicubic to 256x192``."""
    if row.trained_on == "none":
        return f"as it is, {row.size}"
    if row.trained_on != row.tested_on:
        return f"{row.tested_on} to {row.seen}, trained on {row.trained_on}"
    if row.trained_on == "sharp":
        return f"sharp {row.seen} (upper bound)"
    return f"{row.trained_on} to {row.seen}"


def _trained(results: Results) -> pd.DataFrame:
    rows = results.rows[results.rows["own_decoder"]]
    rows = rows.assign(trained_on=rows["upscale"], tested_on=rows["upscale"])
    stores = {key: cell["store"] for key, cell in results.cells.items()}
    return rows.assign(store=rows["key"].map(stores))


def _transferred(results: Results, params: dict) -> Iterator[pd.DataFrame]:
    """Rows of the trained cells that were tested on persons upscaled otherwise."""
    for key, cell in (params.get("transfers") or {}).items():
        path = results.root / "results" / "cells" / key / "metrics.csv"
        if cell["trained"] not in results.cells:
            continue
        rows = read_csv(path, COLUMNS) if path.exists() else pd.DataFrame()
        if rows.empty or set(rows["config_hash"]) != {hash_of(cell["train"])}:
            why = "missing" if rows.empty else "of other settings"
            print(f"{why}: {key} (dvc repro transfer@{key})", file=sys.stderr)
            continue
        rows = rows[rows["own_decoder"].astype(bool)]
        percent = 100 * rows["error_px"] / _seen(results.root, cell["store"])[1]
        yield rows.assign(
            trained_on=cell["upscale"],
            tested_on=cell["test_upscale"],
            store=cell["store"],
            label=results.labels[cell["trained"]],
            error_percent=percent,
        )


def _describe_store(root: Path, store: str, params: dict) -> dict:
    """Size of what the network sees, cost of the upscaler, nearness to the sharp."""
    width, height = _seen(root, store)
    described = {"seen": f"{height}x{width}", "upscaler_gmacs": 0.0, "upscaler_ms": 0.0}
    upscaled = (params.get("upscaled") or {}).get(store)
    if upscaled is None:
        return described | {"PSNR": float("nan"), "SSIM": float("nan")}
    path = root / "runs" / store / "upscaler.json"
    spent = json.loads(path.read_text()) if path.exists() else {}
    described["upscaler_gmacs"] = spent.get("gmacs", float("nan"))
    described["upscaler_ms"] = spent.get("ms_per_person", float("nan"))
    camera = params["stores"][upscaled["store"]]
    factor = height // parse_size(camera["size"])[1]
    wanted = camera | {"oversample": factor, "as_input": True}
    sharp = [name for name, item in params["stores"].items() if item == wanted]
    return described | store_quality(root / "data/stores", store, sharp)


def _seen(root: Path, store: str) -> tuple[int, int]:
    """``(w, h)`` of the network's input; NaN where there is no store."""
    path = root / "data" / "stores" / store / "manifest.json"
    if not path.exists():
        return float("nan"), float("nan")
    return tuple(json.loads(path.read_text())["input_size"])


def _rank(upscaling: str) -> int:
    return ORDER.index(upscaling) if upscaling in ORDER else len(ORDER)
