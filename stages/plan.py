"""``python -m stages.plan [OVERRIDES]``: compose conf/ into params.yaml.

The grid names the cells: every combination of its axes, each composed by Hydra. An
axis given on the command line replaces the grid's: ``size=64x48,96x72``.
"""

import argparse
import itertools
import re
from pathlib import Path

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from plugins.sizes import parse_size
from stages.files import PARAMS, StageError, new_file, run_stage

CONF = Path(__file__).parent.parent / "conf"
IN_KEY = ("data", "size", "upscale", "backbone", "method", "seed")
"""Axes that every key shows; others appear in it where they are set."""
HEADER = """\
# Generated from conf/ by: python -m stages.plan{arguments}
# Do not edit: change conf/ and run it again.
"""


def plan(overrides: list[str]) -> dict:
    """Compose the content of params.yaml.

    Raises:
        StageError: Hydra refuses an override, or two cells have one name.
    """
    params: dict = {"plan": overrides, "data": {}, "stores": {}, "cells": {}}
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            for choices in enumerate_cells(overrides):
                add_cell(params, choices)
    except (
        HydraException,
        OmegaConfBaseException,
        yaml.YAMLError,
        ValueError,
    ) as error:
        raise StageError(str(error).strip()) from None
    return params


def enumerate_cells(overrides: list[str]) -> list[dict[str, str]]:
    """Overrides of each cell, name -> value, from the grid and the command line."""
    given: dict[str, list[str]] = {}
    for override in OverridesParser.create().parse_overrides(overrides):
        name = override.get_key_element()
        if override.is_sweep_override():
            given[name] = list(override.sweep_string_iterator())
        else:
            given[name] = [override.get_value_element_as_str()]
    chosen = given.pop("grid", [])
    grid = compose("config", [f"grid={chosen[0]}"] if chosen else []).grid
    cells = []
    for product in OmegaConf.to_container(grid.products):
        axes = {name: [str(v) for v in values] for name, values in product.items()}
        axes |= given
        for values in itertools.product(*axes.values()):
            cells.append(dict(zip(axes, values, strict=True)))
    return cells


def add_cell(params: dict, choices: dict[str, str]) -> None:
    """Compose one cell and add it, its store and its data to params."""
    config = compose("config", [f"{name}={value}" for name, value in choices.items()])
    data = describe_data(config)
    parse_size(config.size)
    if config.upscale != "none":
        raise StageError(f"upscale={config.upscale}: expected none")
    settings = OmegaConf.to_container(config, resolve=True)
    extras = [
        describe_choice(name, value)
        for name, value in sorted(choices.items())
        if name.partition(".")[0] not in IN_KEY[:1] and name not in IN_KEY
    ]
    camera = [extra for extra in extras if extra.startswith("store_")]
    store = "-".join([data["name"], config.size, *camera])
    parts = [store, config.backbone.name, config.method.name]
    rest = [extra for extra in extras if extra not in camera]
    key = "-".join([*parts, *rest, f"s{config.seed}"])
    train = {
        name: settings[name]
        for name in ("size", "backbone", "method", "schedule", "augment", "seed")
    }
    cell = {
        "data": data["name"],
        "store": store,
        "size": settings["size"],
        "upscale": settings["upscale"],
        "backbone": config.backbone.name,
        "method": config.method.name,
        "schedule": config.schedule.name,
        "seed": settings["seed"],
        "train": train,
        "evaluate": settings["evaluate"],
    }
    size = {"data": data["name"], "size": settings["size"]}
    add(params["data"], data["name"], data)
    add(params["stores"], store, size | settings["store"])
    add(params["cells"], key, cell)


def describe_data(config: DictConfig) -> dict:
    """Settings of the data source; a folder's name becomes the data's."""
    data = OmegaConf.to_container(config.data, resolve=True, throw_on_missing=True)
    if not data.get("name"):
        data["name"] = re.sub(r"\W+", "_", Path(data["root"]).resolve().name)
    if not re.fullmatch(r"\w+", data["name"]):
        raise StageError(f"data.name={data['name']}: expected letters, digits and _")
    # DVC removes a stage's outputs before it runs.
    written = (Path("data") / data["name"]).resolve()
    read = Path(data.get("root", "/")).resolve()
    if read == written or written in read.parents or data["name"] == "stores":
        raise StageError(
            f"data.root={data.get('root')}: data/{data['name']} is written by prepare; "
            "move the dataset out of data/ or give another data.name"
        )
    return data


def describe_choice(name: str, value: str) -> str:
    """Part of a key that stands for one override, such as schedule_epochs_5."""
    text = name if "." not in name and name in value else f"{name}_{value}"
    replaced = text.replace("-", "m").replace(".", "_")
    return re.sub(r"\W+", "_", replaced).strip("_")


def add(items: dict, name: str, settings: dict) -> None:
    """Add an item; the same name must mean the same settings."""
    if items.setdefault(name, settings) != settings:
        raise StageError(
            f"two different settings have the name {name!r}; give data.name or sweep "
            "fewer settings at once"
        )


def render(params: dict) -> str:
    """Text of params.yaml."""
    arguments = "".join(f" {override}" for override in params["plan"])
    body = yaml.safe_dump(params, sort_keys=False, default_flow_style=False)
    return HEADER.format(arguments=arguments) + body


def main() -> None:
    """Write params.yaml."""
    parser = argparse.ArgumentParser(prog="stages.plan", description=__doc__)
    parser.add_argument("overrides", nargs="*", help="Hydra overrides, grid=default")
    overrides = parser.parse_args().overrides
    params = plan(overrides)
    with new_file(PARAMS) as handle:
        handle.write(render(params))
    print(f"{PARAMS}: {len(params['cells'])} cells")


if __name__ == "__main__":
    run_stage(main)
