"""One cell: what its choices compose to, its key, and the stores that it needs."""

import re
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from plugins.sizes import parse_size
from stages.files import StageError
from stages.plan.compose import compose_cell, makes_a_difference
from stages.plan.parts import NO_BOXES, NO_DETECTIONS, NO_START, find_code
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


@dataclass(frozen=True)
class Persons:
    """What the stores of a cell, upscaled in one way or another, are made of.

    Attributes:
        low: name of the store of the camera's own pixels.
        camera: settings of that store.
        upscaling: parts of a key that stand for changed settings of the upscaling.
        detected: whether they are wanted in detected boxes too.
    """

    low: str
    camera: dict
    upscaling: list[str]
    detected: bool


def add_cell(params: dict, choices: dict[str, str]) -> str:
    """Compose one cell and add it, its stores and its data to params; gives its key.

    Where it is tested on another upscaling than it is trained on, that is added too.
    """
    config = compose_cell(choices)
    data = describe_data(config)
    parse_size(config.size)
    settings = OmegaConf.to_container(config, resolve=True)
    extras = find_extras(choices)
    of_store = [part for part in extras if part.startswith("store_")]
    upscaling = [part for part in extras if part.startswith("upscale_")]
    rest = [part for part in extras if part not in (*of_store, *upscaling)]
    low = "-".join([data["name"], config.size, *of_store])
    camera = {"data": data["name"], "size": settings["size"]} | settings["store"]
    persons = Persons(low, camera, upscaling, detects(config))
    add(params["data"], data["name"], data)
    store, detections = add_stores(params, persons, settings["upscale"])
    parts = [store, config.backbone.name, config.method.name, *rest]
    key = "-".join([*parts, f"s{config.seed}"])
    cell = describe_cell(settings, data["name"], store, detections)
    add(params["cells"], key, cell)
    if settings["test_upscale"] != "none":
        add_transfer(params, key, choices, persons)
    return key


def find_extras(choices: dict[str, str]) -> list[str]:
    """Parts of a key that stand for what is not the default, in their order."""
    return [
        describe_choice(name, value)
        for name, value in sorted(choices.items())
        if name.partition(".")[0] not in IN_KEY[:1]
        if name not in (*IN_KEY, *NOT_IN_KEY)
        if makes_a_difference(choices, name)
    ]


def add_stores(params: dict, persons: Persons, upscale: dict) -> tuple[str, str]:
    """Add the stores of an upscaling, and what these are made of.

    Returns:
        name of the store, and what a cell depends on for detected boxes.
    """
    made_of = persons.camera, upscale, persons.upscaling
    store, items = find_stores(persons.low, *made_of)
    add_items(params, items)
    if not persons.detected:
        return store, NO_BOXES
    boxes, items = find_detections(persons.low, store, items)
    add_items(params, items)
    return store, f"data/stores/{boxes}"


def describe_cell(settings: dict, data: str, store: str, detections: str) -> dict:
    """The item of a cell; ``find_starts`` says what it starts from."""
    train = {name: settings[name] for name in TRAIN}
    train["init"] = {"from": settings["init"], "part": settings["init_part"]}
    if settings["upscale"]["name"] != "none":
        train["upscale"] = settings["upscale"]
    return {
        "data": data,
        "store": store,
        "size": settings["size"],
        "upscale": name_upscaling(settings["upscale"]),
        "backbone": settings["backbone"]["name"],
        "method": settings["method"]["name"],
        "schedule": settings["schedule"]["name"],
        "seed": settings["seed"],
        "code": find_code(settings),
        "init": NO_START,
        "detections": detections,
        "train": train,
        "evaluate": settings["evaluate"],
    }


def add_transfer(
    params: dict, key: str, choices: dict[str, str], persons: Persons
) -> None:
    """Add the evaluation of a cell on the upscaling that it is tested on."""
    config = compose_cell(choices)
    tested = compose_cell(choices | {"upscale": config.test_upscale})
    upscale = OmegaConf.to_container(tested.upscale, resolve=True)
    store, detections = add_stores(params, persons, upscale)
    cell = params["cells"][key] | {"detections": detections}
    name, transfer = make_transfer(key, cell, name_upscaling(upscale), store)
    add(params["transfers"], name, transfer)


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
