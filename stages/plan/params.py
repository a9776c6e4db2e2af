"""The content of params.yaml: datasets, stores and cells, each under its name."""

import yaml
from hydra import initialize_config_dir
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from stages.files import StageError
from stages.plan.cells import add_cell
from stages.plan.compose import (
    CONF,
    drop_what_does_not_apply,
    enumerate_cells,
    start_choices,
)
from stages.plan.parts import find_starts

SECTIONS = ("data", "stores", "super_resolution", "upscaled", "cells", "transfers")
HEADER = """\
# Generated from conf/ by: python -m stages.plan{arguments}{sweeps}
# Do not edit: change conf/ and run it again.
"""


def plan(overrides: list[str]) -> dict:
    """Compose the content of params.yaml.

    Raises:
        StageError: Hydra refuses an override, or two cells have one name.
    """
    params: dict = {"plan": overrides} | {section: {} for section in SECTIONS}
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cells, start = enumerate_cells(overrides)
            for choices in drop_what_does_not_apply(cells):
                if choices.get("init") == "start":
                    choices["init"] = add_cell(params, start_choices(choices, start))
                add_cell(params, choices)
        find_starts(params["cells"])
    except (
        HydraException,
        OmegaConfBaseException,
        yaml.YAMLError,
        ValueError,
    ) as error:
        raise StageError(said(error)) from None
    return params


def said(error: Exception) -> str:
    """A message of Hydra's without the folders that it searched."""
    return str(error).partition("\nConfig search path:")[0].strip()


def render(params: dict) -> str:
    """Text of params.yaml."""
    sweeps = "".join(
        f"\n# and: python -m stages.sweep -m{arguments(overrides)}"
        for overrides in params.get("sweeps", [])
    )
    header = HEADER.format(arguments=arguments(params["plan"]), sweeps=sweeps)
    # The C library is 5 times as fast, which counts where jobs add their cells.
    return header + yaml.dump(
        params, Dumper=yaml.CSafeDumper, sort_keys=False, default_flow_style=False
    )


def arguments(overrides: list[str]) -> str:
    """Overrides as they follow a command."""
    return "".join(f" {override}" for override in overrides)
