"""Resolvers with which DVC composes params.yaml: ``dvc exp run`` loads this folder.

DVC writes params.yaml as Hydra composes it from one file (conf/params.yaml), and a plan
of cells is more than that: these hand it to the planner.
"""

import functools

from omegaconf import DictConfig, ListConfig, OmegaConf

from stages.plan import plan
from stages.plan.additions import read_whole_params


def planned(overrides: ListConfig, section: str) -> DictConfig:
    """One section of what ``python -m stages.plan`` writes for these overrides."""
    return OmegaConf.create(_plan(tuple(overrides))[section])


@functools.cache
def _plan(overrides: tuple[str, ...]) -> dict:
    return plan(list(overrides))


def current_plan() -> ListConfig:
    """The plan of params.yaml."""
    return OmegaConf.create(read_whole_params().get("plan", []))


OmegaConf.register_new_resolver("planned", planned, replace=True)
OmegaConf.register_new_resolver("current_plan", current_plan, replace=True)
