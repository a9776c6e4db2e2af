"""``dvc repro`` from start to end, in a clone, on a tiny grid of rendered people."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parent.parent
TINY = [
    "method=msra,udp",
    "size=32x24",
    "schedule=smoke",
    "data.train=24",
    "data.val=12",
]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A working copy of the repository's own files, with a history of its own."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.split("\n")[:-1]:
        if (ROOT / name).is_file() and not name.startswith("results/"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "dvc.lock").unlink(missing_ok=True)
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "clone"]):
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
        subprocess.run(["git", *identity, *command], cwd=tmp_path, check=True)
    return tmp_path


def environment() -> dict:
    """The tests' own Python is the stages' python too."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "CI": "true", "OMP_WAIT_POLICY": "passive"}


def run(clone: Path, *command: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command, cwd=clone, env=environment(), capture_output=True, text=True
    )


def plan(clone: Path, *overrides: str) -> list[str]:
    """Write params.yaml; gives the cells' keys."""
    done = run(clone, sys.executable, "-m", "stages.plan", *overrides)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load((clone / "params.yaml").read_text())["cells"])


def repro(clone: Path) -> str:
    done = run(clone, sys.executable, "-m", "dvc", "repro")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ran(output: str) -> set[str]:
    """Names of the stages that DVC ran."""
    lines = [line for line in output.split("\n") if line.startswith("Running stage")]
    return {line.split("'")[1] for line in lines}


def test_repro_end_to_end(clone: Path) -> None:
    """All stages run once; then nothing; then only what a change touches."""
    keys = plan(clone, *TINY)
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
    assert plan(clone, *TINY) == keys
    trained = {name for name in ran(repro(clone)) if name.startswith("train@")}
    assert trained == {f"train@{key}" for key in keys if "msra" in key}


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_repro_goes_on_after_a_kill(clone: Path, how: signal.Signals) -> None:
    """Killing dvc in the middle of a training ends the training; repro goes on."""
    (key,) = plan(clone, *TINY[1:], "grid=single", "schedule.epochs=40")
    command = [sys.executable, "-m", "dvc", "repro"]
    log = open(clone / "log.txt", "w")
    process = subprocess.Popen(command, cwd=clone, env=environment(), stdout=log)
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
