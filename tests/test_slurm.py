"""Sweeps on a real SLURM, of one node, on this machine."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests.clones import TINY, environment, make_clone, plan
from tests.test_sweep_jobs import SWEEP, wait_for

NODE = Path(__file__).parent / "slurm" / "one_node.sh"
NEEDED = ("slurmctld", "slurmd", "munged", "srun")
absent = [name for name in NEEDED if shutil.which(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(absent) or os.geteuid() != 0,
        reason=f"needs root and {', '.join(NEEDED)}: tests/slurm/one_node.sh install",
    ),
]
SLURM = ["hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1"]
SLURM += ["hydra.launcher.array_parallelism=3"]
SIX = ["method=msra,udp", "seed=0,1,2", *TINY, "schedule.epochs=12"]
MEASURED = ["key", "decoder", "AP", "AR", "PCK", "error_px"]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory) -> Iterator[dict]:
    """The environment of commands that see the node."""
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run([NODE, "start", folder], check=True)
    # A state after each step, so that there is one to go on from.
    saved = {"SLURM_CONF": str(folder / "slurm.conf"), "TRAIN_SAVE_SECONDS": "0"}
    yield environment() | saved
    subprocess.run([NODE, "stop", folder], check=True)


def sweep(clone: Path, env: dict, *overrides: str) -> subprocess.Popen:
    command = [*SWEEP, "-m", "--name", "six", *overrides]
    return subprocess.Popen(
        command, cwd=clone, env=env, stdout=subprocess.PIPE, text=True
    )


def job_of(clone: Path, env: dict, key: str) -> str:
    """SLURM's id of the job that runs a cell."""
    for submission in clone.glob(".work/sweep/*/jobs/.submitit/*_*"):
        logs = [path.read_text() for path in submission.glob("*_log.out")]
        if any(f"{key}: started" in log for log in logs):
            return submission.name
    raise AssertionError(f"no job of {key}")


def send(env: dict, job: str, name: str) -> None:
    subprocess.run(["scancel", f"--signal={name}", job], env=env, check=True)


def trained(clone: Path) -> set[str]:
    """Keys of the cells whose training has saved a state."""
    return {p.parent.name.rpartition("-")[0] for p in clone.glob(".work/train/*/*.pth")}


def measured(clone: Path) -> pd.DataFrame:
    rows = pd.read_csv(clone / "results/sweeps/six/metrics.csv")
    return rows[MEASURED].sort_values(MEASURED[:2], ignore_index=True)


def test_a_killed_job_of_six_is_resumed_to_the_same_results(slurm, tmp_path):
    clone, local = make_clone(tmp_path / "slurm"), make_clone(tmp_path / "local")
    for folder in (clone, local):
        plan(folder, "grid=single", *TINY)
    first = sweep(clone, slurm, *SIX, *SLURM)
    assert wait_for(lambda: trained(clone), 600)
    killed = min(trained(clone))
    send(slurm, job_of(clone, slurm, killed), "KILL")
    said, _ = first.communicate()
    assert first.returncode == 1
    assert "6 cells: 5 done, 1 failed" in said, said
    assert f"{killed}  ended without a word" in said

    second = sweep(clone, slurm, *SIX, *SLURM)
    said, _ = second.communicate()
    assert second.returncode == 0, said
    assert "6 cells, 1 to run" in said and "6 cells: 6 done" in said
    assert "going on" in (clone / f".work/sweep/six/logs/{killed}.log").read_text()

    here = sweep(local, slurm, *SIX)
    said, _ = here.communicate()
    assert here.returncode == 0, said
    assert measured(clone).key.nunique() == 6
    pd.testing.assert_frame_equal(measured(clone), measured(local), check_exact=True)


def test_a_job_whose_time_is_up_is_queued_again(slurm, tmp_path):
    """The signal that SLURM sends before it preempts a job or its time is up."""
    clone = make_clone(tmp_path)
    (key,) = plan(clone, "grid=single", *TINY, "schedule.epochs=12")
    running = sweep(clone, slurm, *TINY, "schedule.epochs=12", *SLURM)
    assert wait_for(lambda: trained(clone), 600)
    (job,) = clone.glob(".work/sweep/six/jobs/.submitit/*/*_log.out")
    send(slurm, job.parent.name, "USR2")
    said, _ = running.communicate()
    assert running.returncode == 0, said
    assert "1 cells: 1 done" in said
    assert "Requeued job" in job.read_text()
    assert "going on" in (clone / f".work/sweep/six/logs/{key}.log").read_text()
