"""One job of a sweep: one cell. A Hydra application, for any of its launchers.

``python -m stages.sweep.job sweep=NAME cell=KEY,KEY hydra/launcher=local``
"""

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

# Launchers send this module by value, and all that it imports by name: a worker is to
# know its own parent, not the launcher's.
from stages.sweep.cell import run_cell


@hydra.main(config_path="../../conf", config_name="sweep", version_base="1.3")
def main(config: DictConfig) -> None:
    """Run one cell, as a job of any of Hydra's launchers."""
    launcher = HydraConfig.get().launcher
    joblib = launcher._target_.endswith("JoblibLauncher")
    run_cell(config.sweep, config.cell, launcher.n_jobs if joblib else None)


if __name__ == "__main__":
    main()
