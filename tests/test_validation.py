"""Validation during training: evaluate's own figures, and no trace in the weights."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from stages.evaluate.__main__ import evaluate
from stages.train import train

pytestmark = pytest.mark.filterwarnings("ignore:.*has been created:UserWarning")
EPOCHS = 24
FIGURES = {"val_ap": "AP", "val_pck": "PCK", "val_error": "error_px"}


@pytest.fixture
def run(tiny_work, tmp_path, monkeypatch, compose_cell):
    """Train the tiny store's persons; gives the cell, its weights and its history."""
    for name in ("data", "photos"):
        (tmp_path / name).symlink_to(tiny_work / name)
    monkeypatch.chdir(tmp_path)

    def train_cell(key: str, *overrides: str) -> tuple[dict, dict, pd.DataFrame]:
        choices = ("size=32x24", "schedule=smoke", "evaluate.flip_test=false")
        cell = compose_cell(*choices, *overrides)
        cell = cell | {"data": "tiny", "store": "tiny-32x24"}
        folder, store = Path("runs") / key, Path("data/stores/tiny-32x24")
        train(key, cell["train"], Path("data/tiny"), store, folder)
        weights = torch.load(folder / "checkpoint.pth", weights_only=True)["state_dict"]
        return cell, weights, pd.read_csv(folder / "history.csv")

    return train_cell


@pytest.mark.parametrize("method", ["udp", "cal", "rle"])
def test_the_last_epochs_figures_are_evaluates(run, method):
    overrides = (f"method={method}", f"schedule.epochs={EPOCHS}")
    cell, _, history = run("cell", *overrides, f"schedule.validate_every={EPOCHS}")
    frame = evaluate("cell", cell, Path("runs/cell/checkpoint.pth"), Path("out"))
    own = frame[frame["own_decoder"]].iloc[0]
    # Not nothing, which would equal anything; rle's AP hangs on the last rounding.
    assert 5 < own["PCK"] < 95 and (method == "rle" or 5 < own["AP"] < 95)
    last = history.iloc[-1]
    for name, column in FIGURES.items():
        assert last[name] == pytest.approx(own[column], abs=1e-6), name


def test_how_often_it_validates_changes_no_weight(run, capsys):
    _, often, history = run("often", "schedule.epochs=3", "schedule.validate_every=1")
    assert history["val_ap"].notna().all()
    assert capsys.readouterr().out.count("  val AP ") == 3
    _, once, history = run("once", "schedule.epochs=3", "schedule.validate_every=9")
    assert history["val_ap"].notna().tolist() == [False, False, True]
    assert [name for name in often if not torch.equal(often[name], once[name])] == []
