"""Sweeps: cells added to params.yaml, what becomes of each, shares of the machine."""

import io
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dvc.utils.serialize import _yaml as dvc_yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from stages.files import StageError
from stages.locks import hold, is_held
from stages.plan import CONF, plan
from stages.plan.additions import add_to_params
from stages.sweep import cell
from stages.sweep.__main__ import plan_cells
from stages.sweep.commands import dvc
from stages.sweep.launch import check_launcher, is_hydras, order
from stages.sweep.machine import Share, divide, list_gpus, take_share
from stages.sweep.pipeline import changed_stages
from stages.sweep.record import (
    Sweep,
    last_words,
    load_sweep,
    lock_of,
    name_sweep,
    write_ending,
    write_start,
)
from stages.sweep.table import clock, list_rows, render, time_left

ROOT = Path(__file__).parent.parent
UDP, CAL = ("synthetic-64x48-hrnet_micro-udp-s0", "synthetic-64x48-hrnet_micro-cal-s0")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder with a params.yaml of one cell."""
    monkeypatch.chdir(tmp_path)
    add_to_params(plan_cells([]))
    return tmp_path


def params() -> dict:
    return yaml.safe_load(Path("params.yaml").read_text())


def sweep_of(*overrides: str) -> Sweep:
    this = Sweep("some", plan_cells(list(overrides)))
    this.save()
    return this


# Cells


def test_a_sweep_is_a_product_of_settings_or_a_grid():
    cells = plan_cells(["method=udp,cal", "size=64x48,128x96", "seed=0,1"])
    assert len(cells["cells"]) == 8
    assert list(plan_cells(["seed=3"])["cells"]) == [UDP.replace("s0", "s3")]
    components = plan_cells(["grid=gmm_components"])["cells"]
    assert components == plan(["grid=gmm_components"])["cells"] and len(components) == 4


def test_a_setting_applies_to_the_methods_that_have_it():
    cells = plan_cells(["method=udp,cal", "method.loss.offset_weight=0.5,0.7"])["cells"]
    assert [cell["method"] for cell in cells.values()] == ["udp", "cal", "cal"]
    assert UDP in cells
    weights = [
        c["train"]["method"]["loss"].get("offset_weight") for c in cells.values()
    ]
    assert weights == [None, 0.5, 0.7]
    with pytest.raises(StageError, match="method.loss.ofset_weight"):
        plan_cells(["method=udp,cal", "method.loss.ofset_weight=1"])


def test_cells_are_added_beside_those_of_the_plan(folder):
    before = params()
    add_to_params(plan_cells(["method=cal", "size=128x96"]))
    after = params()
    assert list(after["cells"]) == [UDP, CAL.replace("64x48", "128x96")]
    assert set(after["stores"]) == {"synthetic-64x48", "synthetic-128x96"}
    assert after["plan"] == before["plan"] == ["grid=single"]
    assert after["cells"][UDP] == before["cells"][UDP]
    said = "# and: python -m stages.sweep -m grid=single method=cal size=128x96\n"
    assert said in Path("params.yaml").read_text()
    written = Path("params.yaml").stat()
    add_to_params(plan_cells(["method=cal", "size=128x96"]))
    assert Path("params.yaml").stat().st_mtime_ns == written.st_mtime_ns


def test_data_of_other_cells_is_not_changed_under_them(folder):
    text = Path("params.yaml").read_text()
    with pytest.raises(StageError, match=r"data 'synthetic'.*\(train: 3000 -> 24\)"):
        add_to_params(plan_cells(["method=cal", "data.train=24"]))
    assert Path("params.yaml").read_text() == text
    add_to_params(plan_cells(["data.train=24"]))  # its only cell's own
    assert params()["data"]["synthetic"]["train"] == 24


@pytest.mark.parametrize("text", ["- 1\n", "cells: {}\n", "a: [\n"])
def test_params_that_are_no_plan_are_refused(folder, text):
    Path("params.yaml").write_text(text)
    with pytest.raises(StageError, match="params.yaml"):
        add_to_params(plan_cells(["seed=1"]))
    assert Path("params.yaml").read_text() == text


def _add(seed: int) -> None:
    add_to_params(plan_cells([f"seed={seed}"]))


def test_cells_that_are_added_at_once_are_all_there(folder):
    # Not fork, which copies the locks that threads of other tests hold.
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        pool.map(_add, range(6), chunksize=1)
    assert len(params()["cells"]) == len(params()["sweeps"]) == 6


def test_cells_go_after_those_that_they_start_from():
    cells = plan(["grid=init", "method=cal"])["cells"]
    first, second = order(cells, list(cells))
    assert {cells[key]["train"]["init"]["from"] for key in first} == {"none"}
    assert {cells[key]["train"]["init"]["from"] for key in second} == {UDP}
    assert order(cells, second) == [second]


# Command line


def run_sweep(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "stages.sweep", *arguments],
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["method=cla"], r"method/cla'(?s:.*)\n\tcal\n"),
        (["method=udp,cla"], r"method/cla'(?s:.*)\n\tcal\n"),
        (["size=64x50"], "64x50.*multiples of 8"),
        (["hydra/launcher=nope"], r"launcher/nope'(?s:.*)\n\tlocal\n"),
        (["hydra/launcher=local", "hydra.launcher.jobs=3"], "hydra.launcher.jobs"),
    ],
)
def test_a_wrong_override_names_the_choices_and_writes_nothing(
    overrides, says, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    done = run_sweep("-m", *overrides)
    assert done.returncode == 1
    assert re.match(f"error: .*{says}", done.stderr), done.stderr
    assert "Traceback" not in done.stderr and "Config search path" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_status_of_what_is_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run_sweep("status", "nothing")
    assert done.returncode == 1
    assert done.stderr.startswith("error: no sweep nothing; there are: none; start one")


def test_names():
    assert name_sweep(["seed=0,1", "method=udp"]) == "method_udp-seed_0_1"
    assert name_sweep(["method=udp", "seed=0,1"]) == "method_udp-seed_0_1"
    assert name_sweep([]) == "default"
    many = [f"method={','.join('abcdefghijklmnopqrstuvwxyz')}", "size=64x48,128x96"]
    long, other = name_sweep(many), name_sweep([*many, "seed=1"])
    assert len(long) < 70 and long != other and re.fullmatch(r"[\w-]+", long)


def test_hydras_own_overrides():
    own = ["hydra/launcher=local", "+hydra.launcher.x=1", "hydra.sweep.dir=x"]
    assert all(map(is_hydras, own))
    assert not any(map(is_hydras, ["method=udp", "+experiment=x", "data=synthetic"]))


@pytest.mark.parametrize(
    "name", sorted(p.stem for p in (CONF / "hydra/launcher").glob("*"))
)
def test_every_launcher_of_conf_composes(name):
    launcher = check_launcher("some", [f"hydra/launcher={name}"])
    assert launcher._target_.startswith("hydra_plugins.")
    assert "n_jobs" in launcher or launcher.name == "some"


def composed_by_dvc(*overrides: str) -> dict:
    """As dvc.utils.hydra.compose_and_dump does."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("params", list(overrides))
    return OmegaConf.to_container(config, resolve=True)


def test_what_dvc_exp_run_composes_is_the_plan(folder):
    overrides = ["grid=single", "method=cal", "size=128x96", "seed=0,1"]
    listed = ",".join(f"'{override}'" for override in overrides)
    assert composed_by_dvc(f"plan=[{listed}]") == plan(overrides)
    assert composed_by_dvc() == plan(["grid=single"])  # as params.yaml has it


# What became of each cell


def test_the_state_of_each_cell(folder):
    this = sweep_of("method=udp,cal,dark,msra,rle", "size=64x48")
    udp, cal, dark, msra, rle = this.cells
    changed = {f"train@{key}" for key in (cal, dark, rle)} | {f"evaluate@{msra}"}
    for key in (udp, cal, dark, rle):
        write_start(this, key)
        this.log(key).parent.mkdir(parents=True, exist_ok=True)
        this.log(key).write_text(
            "cache none\nepoch 3/14  loss 0.1  val PCK 1.0 %  2.0 s, 01:00:22 left\n"
        )
    write_ending(this, udp, started=1e9, status=0)
    this.ending(udp).write_text(json.dumps({"status": 0, "seconds": 100, "error": ""}))
    this.log(cal).write_text("error: photo 3 is gone\nERROR: failed to reproduce x\n")
    write_ending(this, cal, started=0, status=1)
    with hold(lock_of(dark)):
        rows = {row.key: row for row in list_rows(this, changed)}
    assert [rows[key].state for key in (udp, cal, dark, msra, rle)] == [
        "done", "failed", "running", "missing", "failed",
    ]  # fmt: skip
    assert rows[cal].says == "photo 3 is gone"
    assert (rows[dark].says, rows[dark].seconds) == ("epoch 3/14", 3622)
    assert rows[msra].seconds == 100  # as udp took
    assert "killed" in rows[rle].says
    text = render(list(rows.values()))
    assert "5 cells: 1 done, 1 running, 2 failed, 1 missing; about 1:02:02 left" in text
    assert list_rows(this, changed)[2].state == "failed"  # nobody holds its lock


def test_a_cell_that_is_trained_by_hand_is_running(folder):
    this = sweep_of()
    with hold(Path(".work/train") / f"{UDP}.lock"):
        (row,) = list_rows(this, {f"train@{UDP}"})
    assert (row.state, row.seconds) == ("running", None)
    assert "not known" in time_left([row])


def test_what_keeps_a_job_from_starting_is_in_the_table(folder, monkeypatch):
    this = sweep_of()
    Path("params.yaml").write_text("plan: 1\n")
    monkeypatch.setattr(cell, "end_with_parent", lambda parent: None)
    cell.run_cell("some", UDP, 1)
    (row,) = list_rows(this, {f"train@{UDP}"})
    assert row.state == "failed"
    assert row.says.startswith("params.yaml is not what python -m stages.plan writes")


@pytest.mark.parametrize("launcher", ["basic", "local"])
def test_jobs_of_a_launcher_say_how_they_ended(launcher, folder):
    """Joblib's workers too, which get the job's code and settings from elsewhere."""
    this = sweep_of("seed=0,1")
    Path("params.yaml").write_text("plan: 1\n")  # so that they end at once
    done = subprocess.run(
        [sys.executable, "-m", "stages.sweep.job", "sweep=some"]
        + [f"cell={','.join(this.cells)}", f"hydra/launcher={launcher}"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = list_rows(this, {f"train@{key}" for key in this.cells})
    assert [row.state for row in rows] == ["failed", "failed"]
    assert all(row.says.startswith("params.yaml is not what") for row in rows)


def test_the_sweep_started_last_is_shown(folder):
    assert load_sweep(None).params == sweep_of().params if sweep_of() else False
    assert load_sweep("some").cells.keys() == {UDP}
    with pytest.raises(StageError, match="no sweep other; there are: some"):
        load_sweep("other")


@pytest.mark.parametrize(
    ("squeue", "state"), [("echo 7 main", "missing"), ("exit 1", "failed")]
)
def test_a_job_that_slurm_has_queued_again(squeue, state, folder, monkeypatch):
    (folder / "squeue").write_text(f"#!/bin/sh\n{squeue}\n")
    (folder / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    this = sweep_of()
    write_start(this, UDP)
    (row,) = list_rows(this, {f"train@{UDP}"})
    assert row.state == state
    assert ("queued again by SLURM (job 7)" in row.says) == (state == "missing")


def test_last_words(tmp_path):
    log = tmp_path / "log"
    assert last_words(log) == "no log"
    for text, said in [
        ("", "no output"),
        ("a\nValueError: b\nERROR: failed to reproduce 'x'\n", "ValueError: b"),
        ("error: b\nc\n", "b"),
        ("ERROR: failed to reproduce 'x'\n", "ERROR: failed to reproduce 'x'"),
    ]:
        log.write_text(text)
        assert last_words(log) == said


def test_clock():
    assert [clock(s) for s in (None, 0.4, 61, 3725)] == [
        "?",
        "0:00:00",
        "0:01:01",
        "1:02:05",
    ]


# Shares of the machine


def test_shares_are_disjoint_and_use_every_core():
    for jobs in (1, 2, 3, 8):
        shares = [divide(list(range(8)), [], n, jobs) for n in range(jobs)]
        assert sorted(sum((share.cores for share in shares), [])) == list(range(8))
        assert all(
            s.environment["OMP_NUM_THREADS"] == str(len(s.cores)) for s in shares
        )
    shared = [divide([4, 5], ["a", "b"], number, 3) for number in range(3)]
    assert {core for share in shared for core in share.cores} == {4, 5}
    assert [s.environment["CUDA_VISIBLE_DEVICES"] for s in shared] == ["a", "b", "a"]


def test_gpus_are_those_that_are_visible(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-5")
    assert list_gpus() == ["2", "GPU-5"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert list_gpus() == []


def test_a_share_is_free_again(folder, monkeypatch):
    with take_share(2) as first, take_share(2) as second:
        assert first.environment and second.environment
    with take_share(2) as again:
        assert again == first
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "5")
    with take_share(None) as given:
        assert given.cores == [] and given.environment["OMP_NUM_THREADS"] == "5"


def test_locks(tmp_path):
    lock = tmp_path / "some" / "lock"
    assert not is_held(lock)
    with hold(lock):
        assert is_held(lock)
    assert not is_held(lock)


def test_a_folder_without_dvc_is_named(folder):
    with pytest.raises(StageError, match="dvc status failed: .*"):
        changed_stages(["train@nothing"])


# DVC in forks


def test_dvc_has_its_share_of_the_machine_and_its_own_output(tmp_path, monkeypatch):
    def main(arguments: list[str]) -> int:
        core = [*os.sched_getaffinity(0), os.environ["OMP_NUM_THREADS"]]
        os.write(1, f"{core} {arguments}".encode())
        os.write(2, b"no")
        return 7

    monkeypatch.setattr("dvc.cli.main", main)
    core = min(os.sched_getaffinity(0))
    share = Share([core], {"OMP_NUM_THREADS": "3"})
    with open(tmp_path / "out", "w") as out, open(tmp_path / "err", "w") as err:
        assert dvc("repro", "x", output=out, errors=err, share=share) == 7
    said = f"[{core}, '3'] ['--wait-for-lock', 'repro', 'x']"
    assert (tmp_path / "out").read_text() == said
    assert (tmp_path / "err").read_text() == "no"
    assert os.environ.get("OMP_NUM_THREADS") != "3"


def test_a_launchers_handlers_do_not_reach_dvc(monkeypatch):
    """Submitit's would have the job queued again, twice."""
    kill = lambda arguments: os.kill(os.getpid(), signal.SIGUSR2)  # noqa: E731
    monkeypatch.setattr("dvc.cli.main", kill)
    before = signal.signal(signal.SIGUSR2, lambda *_: None)
    try:
        assert dvc("repro") == -signal.SIGUSR2
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_dvcs_lock_file_is_written_the_same_after_the_fast_reader():
    text = (ROOT / "dvc.lock").read_text()
    written = io.StringIO()
    dvc_yaml._dump(dvc_yaml.parse_yaml(text, "dvc.lock"), written)
    assert written.getvalue() == text
