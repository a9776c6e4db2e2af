"""Hand cells to one of Hydra's launchers, and wait until each job has ended."""

import subprocess
import sys

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from stages.files import StageError
from stages.plan import CONF
from stages.plan.params import said
from stages.sweep.commands import environment
from stages.sweep.record import Sweep
from stages.sweep.slurm import launch_on_slurm


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
        for record in (sweep.log(key), sweep.start(key), sweep.ending(key)):
            record.unlink(missing_ok=True)
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
