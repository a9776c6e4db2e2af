"""Sweeps in whole: jobs side by side, failures, kills, and DVC's own experiments."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.clones import TINY, environment, make_clone, plan, ran, run

pytestmark = pytest.mark.slow
PYTHON = [sys.executable, "-m"]
SWEEP = [*PYTHON, "stages.sweep"]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A working copy whose params.yaml has one tiny cell."""
    make_clone(tmp_path)
    plan(tmp_path, "grid=single", *TINY)
    return tmp_path


def ran_in_jobs(clone: Path) -> list[str]:
    """Stages that the jobs of all sweeps ran, as often as they did."""
    logs = clone.glob(".work/sweep/*/logs/*.log")
    text = "\n".join(log.read_text() for log in logs)
    return re.findall(r"Running stage '(.*)'", text)


def test_jobs_side_by_side(clone: Path) -> None:
    """Six cells, three at once; nothing is run twice, by a sweep or by dvc repro."""
    six = ["method=msra,udp", "seed=0,1,2", *TINY]
    local = ["hydra/launcher=local", "hydra.launcher.n_jobs=3"]
    done = run(clone, *SWEEP, "-m", "--name", "six", *six, *local)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 cells: 6 done" in done.stdout
    cells = yaml.safe_load((clone / "params.yaml").read_text())["cells"]
    assert len(cells) == 6
    each = [f"{stage}@{key}" for key in cells for stage in ("train", "evaluate")]
    assert sorted(ran_in_jobs(clone)) == sorted(each)
    shared = {"prepare@synthetic", "downsample@synthetic-32x24", "compare"}
    assert ran(done.stdout) == shared

    again = run(clone, *PYTHON, "dvc", "repro")
    assert again.returncode == 0 and ran(again.stdout) == set(), again.stdout
    for name in ("six", "other"):
        rerun = run(clone, *SWEEP, "-m", "--name", name, *six, *local)
        assert rerun.returncode == 0 and "6 cells, 0 to run" in rerun.stdout
        compared = pd.read_csv(clone / "results/sweeps" / name / "metrics.csv")
        assert set(compared.key) == set(cells)
    status = run(clone, *SWEEP, "status", "six")
    assert status.returncode == 0 and "6 cells: 6 done" in status.stdout
    assert not list(clone.rglob("*.partial"))


def test_a_failed_cell_does_not_stop_the_others(clone: Path) -> None:
    rates = "schedule.optimizer.lr=1e30,0.003"
    done = run(clone, *SWEEP, "-m", "--name", "rates", rates, *TINY)
    assert done.returncode == 1
    assert "2 cells: 1 done, 1 failed" in done.stdout, done.stdout + done.stderr
    (line,) = [line for line in done.stdout.split("\n") if line.startswith("failed")]
    assert "lower schedule.optimizer.lr" in line
    finished = pd.read_csv(clone / "results/sweeps/rates/metrics.csv")
    assert finished.key.nunique() == 1


def test_a_killed_sweep_goes_on(clone: Path) -> None:
    """Its jobs end with it; called again, it goes on from the last saved state."""
    long = ["--name", "long", *TINY, "schedule.epochs=40"]
    log = open(clone / "log.txt", "w")
    env = environment() | {"TRAIN_SAVE_SECONDS": "0"}
    process = subprocess.Popen(
        [*SWEEP, "-m", *long], cwd=clone, env=env, stdout=log, stderr=log
    )
    assert wait_for(lambda: list(clone.glob(".work/train/*/*.pth")), 300)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert wait_for(lambda: not living(clone), 30), "something outlived the sweep"
    status = run(clone, *SWEEP, "status")
    assert "1 cells: 1 failed" in status.stdout and "killed" in status.stdout
    done = run(clone, *SWEEP, "-m", *long)
    assert done.returncode == 0, done.stdout + done.stderr
    (job,) = clone.glob(".work/sweep/long/logs/*.log")
    assert "going on" in job.read_text()


def living(clone: Path) -> list[str]:
    """Processes that work in the clone."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "cwd") == str(clone):
                found.append(process.name)
        except OSError:
            continue
    return found


def wait_for(condition, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.2)
    return bool(condition())


def test_dvc_exp_run_composes_cells_from_conf(clone: Path) -> None:
    """An experiment has the cells, and the results, of its own plan."""
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    assert run(clone, "git", *identity, "commit", "-qam", "plan").returncode == 0
    listed = ",".join(f'"{override}"' for override in ["method=dark", *TINY])
    command = [*PYTHON, "dvc", "exp", "run", "--name", "dark"]
    done = run(clone, *command, "-S", f'plan=["grid=single",{listed}]')
    assert done.returncode == 0, done.stdout + done.stderr
    (cell,) = yaml.safe_load((clone / "params.yaml").read_text())["cells"].values()
    assert cell["method"] == "dark" and cell["train"]["schedule"]["name"] == "smoke"
    shown = run(clone, *PYTHON, "dvc", "exp", "show", "--json", "--no-pager")
    assert '"dark"' in shown.stdout
    metrics = json.loads((clone / "results/metrics.json").read_text())
    (key,) = metrics
    assert "-dark-" in key and key in shown.stdout
    again = run(clone, *PYTHON, "dvc", "repro")
    assert ran(again.stdout) == set()
