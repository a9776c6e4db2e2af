"""What compares ways to read a small person: rows, costs, tables and figures."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from stages.compare.documents import to_markdown
from stages.compare.rows import collect
from stages.compare.super_resolution.report import draw_treatments, write_treatments
from stages.compare.super_resolution.tables import build_tables
from stages.compare.super_resolution.treatments import (
    FILE,
    collect_treatments,
    summarise_treatments,
)
from stages.files import hash_of
from tests.fake_cells import (
    make_cells,
    metric_rows,
    write_grid,
    write_history,
    write_metrics,
    write_predictions,
    write_store,
)

LOW, SEEN = "32x24", "64x48"
CAMERA = {"data": "synthetic", "size": LOW, "oversample": 1}
STORES = {
    f"synthetic-{LOW}": CAMERA,
    f"synthetic-{LOW}-sharp-{SEEN}": CAMERA | {"oversample": 2, "as_input": True},
}
BICUBIC = f"synthetic-{LOW}-bicubic-{SEEN}"
METHODS = ("udp", "cal")


def upscaled_cells(upscale: str, seeds=(0,)) -> dict[str, dict]:
    """Cells that read persons of SEEN which the camera took at LOW."""
    store = f"synthetic-{LOW}-{upscale}-{SEEN}"
    cells = make_cells(methods=METHODS, sizes=(LOW,), seeds=seeds)
    return {
        key.replace(f"synthetic-{LOW}", store): cell
        | {"upscale": upscale, "store": store}
        for key, cell in cells.items()
    }


def make_transfers(cells: dict) -> dict[str, dict]:
    return {
        key.replace("-s0", "-test_bicubic-s0"): cell
        | {"store": BICUBIC, "test_upscale": "bicubic", "trained": key}
        for key, cell in cells.items()
        if cell["upscale"] == "sharp"
    }


def finish(root: Path, cells: dict, transfers: dict) -> None:
    """Everything finished: bicubic AP is 40, sharp 60, sharp tested on bicubic 30."""
    write_grid(root, {k: c for k, c in cells.items() if c["upscale"] == "none"})
    ap = {"bicubic": 40.0, "sharp": 60.0}
    for key, cell in (cells | transfers).items():
        if cell["upscale"] == "none":
            continue
        size = cell | {"size": SEEN}
        write_store(root, size)
        rows = metric_rows(key, cell, AP=30.0 if key in transfers else 0.0)
        rows["error_px"] = 6.4
        rows["AP"] = rows["AP"].where(rows["AP"] > 0, ap[cell["upscale"]])
        write_metrics(root, key, rows)
        write_predictions(root, key, size)
        if key in cells:
            write_history(root, key, cell)
    write_params(root, cells, transfers)
    spent = {"gmacs": 0.5, "ms_per_person": 2.0}
    (root / "runs" / BICUBIC).mkdir(parents=True)
    (root / "runs" / BICUBIC / "upscaler.json").write_text(json.dumps(spent))
    crops = np.load(root / "data/stores" / BICUBIC / "val/crops.npy", mmap_mode="r+")
    crops[:] = np.clip(crops.astype(int) + 5, 0, 255)


def write_params(root: Path, cells: dict, transfers: dict) -> None:
    params = {"stores": STORES, "cells": cells, "transfers": transfers}
    params["upscaled"] = {BICUBIC: {"store": f"synthetic-{LOW}"}}
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))


@pytest.fixture(scope="module")
def grid(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("upscaled")
    cells = make_cells(methods=METHODS, sizes=(LOW,))
    cells |= upscaled_cells("bicubic") | upscaled_cells("sharp")
    finish(root, cells, make_transfers(cells))
    return root


@pytest.fixture(scope="module")
def rows(grid) -> pd.DataFrame:
    return summarise_treatments(collect_treatments(collect(grid)))


def test_every_treatment_has_its_row_and_its_costs(rows):
    assert list(dict.fromkeys(rows["treatment"])) == [
        f"as it is, {LOW}",
        f"bicubic to {SEEN}",
        f"bicubic to {SEEN}, trained on sharp",
        f"sharp {SEEN} (upper bound)",
    ]
    assert len(rows) == 4 * len(METHODS)
    udp = rows[rows["label"].eq("udp")].set_index("treatment")
    bicubic, sharp = f"bicubic to {SEEN}", f"sharp {SEEN} (upper bound)"
    transfer = f"bicubic to {SEEN}, trained on sharp"
    assert udp.loc[[bicubic, transfer, sharp], "AP"].tolist() == [40, 30, 60]
    assert udp["upscaler_gmacs"].tolist() == [0, 0.5, 0.5, 0]
    assert udp["total_gmacs"].tolist() == (udp["gmacs"] + [0, 0.5, 0.5, 0]).tolist()
    assert udp["total_ms"].tolist() == (udp["network_ms"] + [0, 2, 2, 0]).tolist()
    # Every grey level is off by 5, but for the few that were at the top.
    assert udp.loc[bicubic, "PSNR"] == pytest.approx(20 * np.log10(255 / 5), abs=0.1)
    assert udp.loc[transfer, "PSNR"] == udp.loc[bicubic, "PSNR"]
    assert udp.loc[bicubic, "SSIM"] > 0.9 and np.isnan(udp.loc[sharp, "PSNR"])
    # Pixels of what the network reads, 64 px high, and not 32.
    assert udp.loc[[bicubic, transfer, sharp], "error_percent"].tolist() == [10] * 3


def test_the_bound_is_not_the_best(rows):
    ((_, (ap, costs)),) = build_tables(rows).items()
    assert ap.bold["AP udp"].sum() == 1
    best = ap.text.loc[ap.bold["AP udp"], "treatment"].item()
    assert best == f"bicubic to {SEEN}"
    assert len(costs.text) == len(rows)
    assert "upper bound" in to_markdown(ap)


def test_seeds_are_averaged(tmp_path):
    cells = make_cells(methods=METHODS, sizes=(LOW,), seeds=(0, 1))
    cells |= upscaled_cells("bicubic", seeds=(0, 1))
    finish(tmp_path, cells, {})
    key = next(key for key in cells if "bicubic" in key)
    write_metrics(tmp_path, key, metric_rows(key, cells[key], AP=50.0))
    rows = summarise_treatments(collect_treatments(collect(tmp_path)))
    row = rows[rows["label"].eq("udp") & rows["trained_on"].eq("bicubic")].iloc[0]
    assert (row["AP"], row["seeds"]) == (45, 2)
    assert row["AP_std"] == pytest.approx(10 / np.sqrt(2))


def cell_settings(root: Path) -> dict:
    cells = yaml.safe_load((root / "params.yaml").read_text())["transfers"]
    return next(iter(cells.values()))["train"]


def test_a_missing_transfer_is_named(grid, capsys):
    gone = next((grid / "results/cells").glob("*udp-test_bicubic-s0/metrics.csv"))
    kept = gone.read_text()
    gone.unlink()
    rows = collect_treatments(collect(grid))
    gone.write_text(kept.replace(hash_of(cell_settings(grid)), "000000000000"))
    stale = collect_treatments(collect(grid))
    gone.write_text(kept)
    told = f": {gone.parent.name} (dvc repro transfer@{gone.parent.name})"
    said = capsys.readouterr().err
    assert f"missing{told}" in said and f"of other settings{told}" in said
    assert len(stale) == len(rows)
    assert set(rows.loc[rows["trained_on"].ne(rows["tested_on"]), "label"]) == {"cal"}


def test_all_of_it_is_written(grid, tmp_path):
    results = collect(grid)
    rows = collect_treatments(results)
    write_treatments(rows, tmp_path)
    frame = pd.read_csv(tmp_path / "super_resolution.csv")
    assert list(frame) == FILE and len(frame) == 4 * len(METHODS)
    document = (tmp_path / "super_resolution.md").read_text()
    assert "| bicubic to 64x48, trained on sharp |" in document
    draw_treatments(results, rows, tmp_path)
    for name in ("super_resolution_cost", "super_resolution_persons"):
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000


def test_without_upscaling_there_is_nothing_to_compare(tmp_path):
    write_grid(tmp_path, make_cells(methods=("udp",), sizes=(LOW,)))
    rows = collect_treatments(collect(tmp_path))
    assert rows.empty
    write_treatments(rows, tmp_path)
    assert list(pd.read_csv(tmp_path / "super_resolution.csv")) == FILE
    assert "No cell is upscaled" in (tmp_path / "super_resolution.md").read_text()
