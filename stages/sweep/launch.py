"""Hand cells to one of Hydra's launchers, and wait until each job has ended."""

import subprocess
import sys
import time

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from stages.files import StageError
from stages.plan import CONF
from stages.plan.params import said
from stages.sweep.pipeline import environment
from stages.sweep.record import SWEEPS, Sweep, last_words

POLL = 5
"""Seconds between questions to SLURM."""


def is_hydras(override: str) -> bool:
    """Whether an override says how jobs are run, not what cells are."""
    return override.lstrip("+~").startswith(("hydra.", "hydra/"))


def check_launcher(name: str, overrides: list[str]) -> DictConfig:
    """The launcher's settings.

    Raises:
        StageError: Hydra refuses an override.
    """
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("sweep", [f"sweep={name}", "cell=none", *overrides], True)
            return config.hydra.launcher
    except (HydraException, OmegaConfBaseException) as error:
        raise StageError(said(error)) from None


def launch(sweep: Sweep, keys: list[str], overrides: list[str]) -> None:
    """Run a job for each of these cells; those that others start from go first."""
    slurm = "SlurmLauncher" in check_launcher(sweep.name, overrides)._target_
    for key in keys:
        sweep.log(key).unlink(missing_ok=True)
        sweep.ending(key).unlink(missing_ok=True)
    for wave in order(sweep.cells, keys):
        command = [sys.executable, "-m", "stages.sweep.job", f"sweep={sweep.name}"]
        command += [f"cell={','.join(wave)}", *overrides]
        if slurm:
            launch_on_slurm(sweep.name, command)
        else:
            subprocess.run(command, env=environment())


def order(cells: dict[str, dict], keys: list[str]) -> list[list[str]]:
    """Groups of cells: none starts from another one of its own or of a later group."""
    waves, left = [], list(keys)
    while left:
        waiting = {f"runs/{key}" for key in left}
        wave = [key for key in left if cells[key]["init"] not in waiting]
        if not wave:
            raise StageError(f"these cells start from one another: {', '.join(left)}")
        waves.append(wave)
        left = [key for key in left if key not in wave]
    return waves


def launch_on_slurm(name: str, command: list[str]) -> None:
    """Submit jobs, and wait until SLURM has none of the sweep's any more.

    The launcher itself stops waiting at the first job that was killed, and where the
    cluster keeps no accounts it says so all the time and sees no such end at all.
    """
    folder = SWEEPS / name / "jobs" / ".submitit"
    started, submitted = time.time(), False
    log = SWEEPS / name / "launcher.log"
    with open(log, "w") as output:
        process = subprocess.Popen(
            command, env=environment(), stdout=output, stderr=subprocess.STDOUT
        )
    while submitted and queued(name) or not submitted and process.poll() is None:
        time.sleep(POLL)
        files = folder.glob("*/*_submitted.pkl")
        submitted = any(file.stat().st_mtime >= started for file in files)
    if not submitted:
        print(f"SLURM took no job: {last_words(log)} ({log})", file=sys.stderr)
    elif process.poll() is None:
        process.terminate()
    process.wait()


def queued(name: str) -> bool:
    """Whether SLURM has a job of that name, running or waiting."""
    command = ["squeue", "--me", "--noheader", "--name", name]
    found = subprocess.run(command, capture_output=True, text=True)
    return found.returncode != 0 or bool(found.stdout.strip())
