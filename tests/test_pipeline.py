"""``dvc repro`` from start to end, in a clone, on a tiny grid of rendered people."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.clones import TINY, environment, make_clone, plan, ran, run

TWO = ["method=msra,udp", *TINY]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A working copy of the repository's own files, with a history of its own."""
    return make_clone(tmp_path)


def repro(clone: Path) -> str:
    done = run(clone, sys.executable, "-m", "dvc", "repro")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_repro_end_to_end(clone: Path) -> None:
    """All stages run once; then nothing; then only what a change touches."""
    keys = plan(clone, *TWO)
    assert len(keys) == 2
    assert ran(repro(clone)) == (
        {"prepare@synthetic", "downsample@synthetic-32x24", "compare"}
        | {f"train@{key}" for key in keys}
        | {f"evaluate@{key}" for key in keys}
    )
    rows = pd.read_csv(clone / "results/metrics.csv")
    assert set(rows.key) == set(keys)
    assert set(rows.decoder) >= {"argmax", "msra", "dark", "udp"}
    metrics = json.loads((clone / "results/metrics.json").read_text())
    assert set(metrics) == set(keys)
    assert (clone / "results/plots/ap_vs_size.png").stat().st_size > 10_000
    shown = run(clone, sys.executable, "-m", "dvc", "metrics", "show")
    assert keys[0] in shown.stdout

    assert ran(repro(clone)) == set()

    # One method's own module: its cells alone are trained again.
    udp = clone / "plugins/codecs/udp.py"
    udp.write_text(udp.read_text() + "\n# changed\n")
    trained = {name for name in ran(repro(clone)) if name.startswith("train@")}
    assert trained == {f"train@{key}" for key in keys if "udp" in key}

    # One method's own settings: the same.
    settings = clone / "conf/method/msra.yaml"
    settings.write_text(settings.read_text().replace("sigma: null", "sigma: 1.5"))
    assert plan(clone, *TWO) == keys
    trained = {name for name in ran(repro(clone)) if name.startswith("train@")}
    assert trained == {f"train@{key}" for key in keys if "msra" in key}


@pytest.mark.slow
def test_repro_of_upscaled_persons(clone: Path) -> None:
    """Every way to read a small person, from the camera to the table; then nothing."""
    network = clone / "conf/upscale/sr_compact.yaml"
    network.write_text(network.read_text().replace("steps: 1000", "steps: 20"))
    overrides = ["grid=super_resolution", "upscale_to=64x48", "method=udp", *TINY]
    keys = plan(clone, *overrides)
    assert len(keys) == 5
    stages = [name.partition("@")[0] for name in ran(repro(clone))]
    counts = {name: stages.count(name) for name in stages}
    assert counts == {
        "prepare": 1, "downsample": 2, "train_sr": 1, "upscale": 3, "train": 5,
        "evaluate": 5, "transfer": 3, "compare": 1,
    }  # fmt: skip
    rows = pd.read_csv(clone / "results/super_resolution.csv")
    assert len(rows) == 8 and rows.total_ms.gt(0).all()
    assert rows.PSNR.notna().sum() == 6
    assert ran(repro(clone)) == set()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_repro_goes_on_after_a_kill(clone: Path, how: signal.Signals) -> None:
    """Killing dvc in the middle of a training ends the training; repro goes on."""
    (key,) = plan(clone, *TINY, "grid=single", "schedule.epochs=40")
    command = [sys.executable, "-m", "dvc", "repro"]
    log = open(clone / "log.txt", "w")
    often = environment() | {"TRAIN_SAVE_SECONDS": "0"}
    process = subprocess.Popen(command, cwd=clone, env=often, stdout=log)
    states = clone / ".work/train"
    for _ in range(1200):
        if len(list(states.glob("*/epoch_*.pth"))) >= 2:
            break
        time.sleep(0.1)
    os.kill(process.pid, how)
    process.wait()
    deadline = time.monotonic() + 20
    while trainings(key) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not trainings(key), "the training outlived dvc"
    output = repro(clone)
    assert "going on after epoch" in output
    history = pd.read_csv(clone / "runs" / key / "history.csv")
    assert list(history.epoch) == list(range(1, 41))
    assert not list(clone.rglob("*.partial"))


def trainings(key: str) -> list[str]:
    """Processes that train this cell."""
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True)
    return [
        line
        for line in listed.stdout.split("\n")
        if "stages.train" in line and key in line and "ps -eo" not in line
    ]
