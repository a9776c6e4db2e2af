"""Which cells a claim speaks of, and the command that runs those that are missing."""

import re
import shlex
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from stages.compare.claims.claim import Claim, Selector
from stages.compare.rows import Results

DATA = Path(__file__).parents[3] / "conf" / "data"
FOLDER = "/path/to/folder"
SEEDS = "0,1,2"
"""Of the command; a verdict on trainings needs two."""


@dataclass(frozen=True)
class Setting:
    """What the compared cells have in common.

    Attributes:
        data, backbone, schedule, upscale: of params.yaml; an upscaling that the claim
            itself names is none here.
        extras: other choices that are not the default, as keys show them.
    """

    data: str
    backbone: str
    schedule: str
    upscale: str
    extras: frozenset[str]

    def __str__(self) -> str:
        """Short, for tables."""
        names = [self.data, self.backbone, f"{self.schedule} schedule"]
        names += [f"upscaled by {self.upscale}"] * (self.upscale != "none")
        return ", ".join([*names, *sorted(self.extras)])


@dataclass(frozen=True)
class Group:
    """The cells of one setting, for one claim.

    Attributes:
        setting: what they have in common.
        example: the settings of one of them.
        keys: by what the claim chooses, and by seed.
    """

    setting: Setting
    example: dict
    keys: dict[frozenset, dict[int, str]] = field(
        default_factory=lambda: defaultdict(dict)
    )

    def find(self, selector: Selector) -> dict[int, str]:
        """Keys by seed of the cells that a selector means."""
        return self.keys.get(frozenset(chosen(selector).items()), {})


def chosen(selector: Selector) -> Selector:
    """The choices that make another cell; a decoder does not."""
    return {name: value for name, value in selector.items() if name != "decoder"}


def group_cells(claim: Claim, results: Results) -> list[Group]:
    """The cells of params.yaml that differ in what the claim chooses, and the seed."""
    names = sorted(chosen(claim.contrasts[0].more[0]))
    groups: dict[Setting, Group] = {}
    for key, cell in results.cells.items():
        place = {name: setting_of(cell, name) for name in names}
        own = {described(name, value) for name, value in place.items()}
        setting = Setting(
            data=cell["data"],
            backbone=cell["backbone"],
            schedule=cell["schedule"],
            upscale="none" if "upscale" in names else cell["upscale"],
            extras=frozenset(read_extras(key, cell)) - own,
        )
        group = groups.setdefault(setting, Group(setting, cell))
        group.keys[frozenset(place.items())][cell["seed"]] = key
    return list(groups.values())


def setting_of(cell: dict, name: str) -> str:
    """A choice of a cell, by its name on the command line; empty where it has none."""
    train = cell["train"]
    if name == "init":
        return str(train.get("init", {}).get("from", "none"))
    if name == "auxiliary":
        return str(train.get("auxiliary", {}).get("name", "none"))
    return str(cell[name] if name in cell else flatten(train).get(name, ""))


def described(name: str, value: str) -> str:
    """A choice as keys show it, such as method_loss_components_3."""
    if name == "init":
        value = Path(value).stem.replace("-", "_")
    text = name if "." not in name and name in value else f"{name}_{value}"
    text = text.replace("-", "m").replace(".", "_")
    return re.sub(r"\W+", "_", text).strip("_")


def read_extras(key: str, cell: dict) -> list[str]:
    """The choices in a cell's key that are not the default."""
    rest = key.removeprefix(f"{cell['store']}-").removesuffix(f"-s{cell['seed']}")
    rest = rest.removeprefix(f"{cell['backbone']}-").removeprefix(cell["method"])
    camera = [part for part in cell["store"].split("-") if part.startswith("store_")]
    return camera + [part for part in rest.split("-") if part]


def describe_selector(selector: Selector) -> str:
    """For a person: ``cal at 64x48, method.loss.components=3``."""
    rest = {k: v for k, v in chosen(selector).items() if k not in ("method", "size")}
    names = [f"{selector['method']} at {selector['size']}"]
    return ", ".join(names + [f"{name}={value}" for name, value in rest.items()])


def command(claim: Claim, group: Group) -> str:
    """What runs every cell of the claim in this setting, with three seeds."""
    cell = group.example
    words = {"grid": "single", **data_choice(cell["data"])}
    words |= {"backbone": cell["backbone"]}
    words |= overrides_of(cell, group.setting.extras)
    axes: dict[str, dict[str, None]] = {}
    for contrast in claim.contrasts:
        for selector in contrast.selectors:
            for name, value in chosen(selector).items():
                axes.setdefault(name, {})[value] = None
    words |= {name: ",".join(values) for name, values in axes.items()}
    words["seed"] = SEEDS
    pairs = [f"{name}={value}" for name, value in words.items()]
    return shlex.join(["python", "-m", "stages.sweep", "-m", *pairs])


def data_choice(name: str) -> dict[str, str]:
    """What chooses a dataset, with its folder to be filled in where it needs one."""
    path = DATA / f"{name}.yaml"
    if not path.exists():
        return {"data": "coco_dir", "data.root": FOLDER, "data.name": name}
    rooted = "root" in yaml.safe_load(path.read_text())
    return {"data": name} | ({"data.root": FOLDER} if rooted else {})


def overrides_of(cell: dict, extras: frozenset[str]) -> dict[str, str]:
    """The choices that a key's extras stand for."""
    names = ["schedule", "init", "auxiliary", *flatten(cell["train"])]
    choices = {name: setting_of(cell, name) for name in names}
    return {k: value for k, value in choices.items() if described(k, value) in extras}


def flatten(settings: dict, prefix: str = "") -> dict:
    """Nested settings by dotted name."""
    flat = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
