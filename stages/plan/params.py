"""The content of params.yaml: datasets, stores and cells, each under its name."""

import re
from pathlib import Path

import yaml
from hydra import initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from plugins.sizes import parse_size
from stages.files import StageError
from stages.plan.compose import (
    CONF,
    compose_cell,
    drop_what_does_not_apply,
    enumerate_cells,
    makes_a_difference,
    start_choices,
)
from stages.plan.parts import (
    NO_BOXES,
    NO_DETECTIONS,
    NO_START,
    find_code,
    find_starts,
)
from stages.plan.upscaling import (
    SHOWN,
    find_detections,
    find_stores,
    make_transfer,
    name_upscaling,
)

IN_KEY = ("data", "size", "backbone", "method", "seed", *SHOWN)
"""Axes that every key shows; others appear in it where they are not the default."""
TRAIN = (
    "size", "backbone", "method", "auxiliary", "transform", "schedule", "augment",
    "seed", "cache",
)  # fmt: skip
"""Settings that a training depends on."""
NOT_IN_KEY = ("evaluate.boxes", "evaluate.box_threshold")
"""The same trained cell: detected boxes are rows beside those of annotated ones."""
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


def add_cell(params: dict, choices: dict[str, str]) -> str:
    """Compose one cell and add it, its stores and its data to params; gives its key.

    Where it is tested on another upscaling than it is trained on, that is added too.
    """
    config = compose_cell(choices)
    data = describe_data(config)
    parse_size(config.size)
    settings = OmegaConf.to_container(config, resolve=True)
    extras = [
        describe_choice(name, value)
        for name, value in sorted(choices.items())
        if name.partition(".")[0] not in IN_KEY[:1]
        if name not in (*IN_KEY, *NOT_IN_KEY)
        if makes_a_difference(choices, name)
    ]
    camera = [extra for extra in extras if extra.startswith("store_")]
    upscaling = [extra for extra in extras if extra.startswith("upscale_")]
    low = "-".join([data["name"], config.size, *camera])
    camera_settings = {"data": data["name"], "size": settings["size"]}
    camera_settings |= settings["store"]
    store, items = find_stores(low, camera_settings, settings["upscale"], upscaling)
    parts = [store, config.backbone.name, config.method.name]
    rest = [extra for extra in extras if extra not in (*camera, *upscaling)]
    key = "-".join([*parts, *rest, f"s{config.seed}"])
    train = {name: settings[name] for name in TRAIN}
    train["init"] = {"from": settings["init"], "part": settings["init_part"]}
    if settings["upscale"]["name"] != "none":
        train["upscale"] = settings["upscale"]
    cell = {
        "data": data["name"],
        "store": store,
        "size": settings["size"],
        "upscale": name_upscaling(settings["upscale"]),
        "backbone": config.backbone.name,
        "method": config.method.name,
        "schedule": config.schedule.name,
        "seed": settings["seed"],
        "code": find_code(settings),
        "init": NO_START,
        "detections": NO_BOXES,
        "train": train,
        "evaluate": settings["evaluate"],
    }
    add(params["data"], data["name"], data)
    add_items(params, items)
    if detects(config):
        boxes, more = find_detections(low, store, items)
        add_items(params, more)
        cell["detections"] = f"data/stores/{boxes}"
    add(params["cells"], key, cell)
    if settings["test_upscale"] != "none":
        tested = compose_cell(choices | {"upscale": settings["test_upscale"]})
        tested = OmegaConf.to_container(tested.upscale, resolve=True)
        store, items = find_stores(low, camera_settings, tested, upscaling)
        name, transfer = make_transfer(key, cell, name_upscaling(tested), store)
        if detects(config):
            boxes, more = find_detections(low, store, items)
            add_items(params, more)
            transfer["detections"] = f"data/stores/{boxes}"
        add_items(params, items | {"transfers": {name: transfer}})
    return key


def detects(config: DictConfig) -> bool:
    """Whether a cell is evaluated on detected boxes too.

    Raises:
        StageError: there are none, or ``evaluate.boxes`` is neither kind.
    """
    boxes = config.evaluate.boxes
    if boxes not in ("gt", "detections"):
        raise StageError(f"evaluate.boxes={boxes}: expected gt or detections")
    if boxes == "detections" and not config.data.get("detections"):
        raise StageError(
            "evaluate.boxes=detections: data.detections is not set; expected a COCO "
            "results file of boxes on val's images (or evaluate.boxes=gt)"
        )
    return boxes == "detections"


def add_items(params: dict, items: dict[str, dict[str, dict]]) -> None:
    """Add items of several sections."""
    for section, named in items.items():
        for name, settings in named.items():
            add(params[section], name, settings)


def describe_data(config: DictConfig) -> dict:
    """Settings of the data source; a folder's name becomes the data's."""
    data = OmegaConf.to_container(config.data, resolve=True, throw_on_missing=True)
    if not data.get("name"):
        data["name"] = re.sub(r"\W+", "_", Path(data["root"]).resolve().name)
    if not re.fullmatch(r"\w+", data["name"]):
        raise StageError(f"data.name={data['name']}: expected letters, digits and _")
    data["depends_detections"] = data.get("detections") or NO_DETECTIONS
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
    if name == "init":
        value = Path(value).stem.replace("-", "_")
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
