"""What DVC watches is what a stage runs: a change of code makes its results stale."""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import yaml

from stages.plan import plan

METHODS = sorted(path.stem for path in Path("conf/method").glob("*.yaml"))
STAGES = yaml.safe_load(Path("dvc.yaml").read_text())["stages"]
ROLES = ("plugins/backbones", "plugins/codecs", "plugins/heads", "plugins/losses")
UNWATCHED = {
    # How files are read and written, processes end and errors are said.
    Path("stages/__init__.py"),
    *map(Path, ("stages/errors.py", "stages/files.py", "stages/finished.py")),
    *map(Path, ("stages/locks.py", "stages/memory.py", "stages/processes.py")),
    Path("stages/settings.py"),
    # Which memory the crops wait in; finding a plugin by its name.
    *map(Path, ("plugins/datasets/cache.py", "plugins/registry.py")),
}
"""Imported, without a say in what a stage writes."""


def test_imports_are_found():
    """Of packages and names in them, relative ones, those inside functions."""
    assert Path("plugins/losses/cal/loss.py") in imported_by("plugins/losses/cal")
    found = imported_by("stages/prepare/__main__.py")
    assert Path("stages/prepare/synthetic/wardrobe.py") in found
    assert Path("plugins/datasets/keypoint_sets.py") in found
    assert not any(path.parts[0] == "torch" for path in found)


@pytest.mark.parametrize(
    "stage", [name for name in STAGES if name not in ("train", "evaluate", "transfer")]
)
def test_a_stage_depends_on_what_it_imports(stage):
    command = STAGES[stage].get("do", STAGES[stage])
    assert unwatched(command, entries(command)) == []


@pytest.mark.parametrize("stage", ["train", "evaluate", "transfer"])
@pytest.mark.parametrize(
    ("method", "backbone"),
    [*((method, "hrnet_micro") for method in METHODS), ("udp", "resnet18")],
)
def test_a_cell_depends_on_what_its_plugins_import(stage, method, backbone):
    """They are found by name when it runs."""
    settings = [f"method={method}", "auxiliary=bone", "grid=single", "size=64x48"]
    settings.append(f"backbone={backbone}")
    if stage == "transfer":
        settings += ["upscale=sharp", "upscale_to=128x96", "test_upscale=bicubic"]
    planned = plan(settings)
    (item,) = planned["transfers" if stage == "transfer" else "cells"].values()
    command = STAGES[stage]["do"]
    parts = item["code"] if stage == "train" else pick(item["code"], "head", "backbone")
    watched = {"deps": [fill(dep, item) for dep in command["deps"]]}
    found = unwatched(watched, [*entries(command), *parts.values()])
    # Evaluation builds the loss with the model and does not ask it for anything.
    kept = () if stage == "train" else ("plugins/losses",)
    assert [path for path in found if not path.startswith(kept)] == []


def test_what_is_not_watched_is_missed():
    command = STAGES["downsample"]["do"]
    deps = [dep for dep in command["deps"] if dep != "plugins/sizes.py"]
    assert unwatched({"deps": deps}, entries(command)) == ["plugins/sizes.py"]


def pick(code: dict, *parts: str) -> dict:
    return {part: code[part] for part in parts}


def fill(dep: str, item: dict) -> str:
    """Put an item's values into ``${item.a.b}``."""
    for name in re.findall(r"\$\{item\.([\w.]+)\}", dep):
        value = item
        for part in name.split("."):
            value = value[part]
        dep = dep.replace(f"${{item.{name}}}", value)
    return dep


def entries(command: dict) -> list[str]:
    """The file that ``python -m`` runs."""
    module = re.search(r"python -m (\S+)", command["cmd"])[1].replace(".", "/")
    run = Path(module, "__main__.py")
    return [str(run) if run.exists() else f"{module}.py"]


def unwatched(command: dict, starts: Iterable[str]) -> list[str]:
    """Files with code, imported from ``starts`` on, that are none of the ``deps``."""
    deps = [Path(dep) for dep in command["deps"]]
    found = set().union(*map(imported_by, starts)) - UNWATCHED
    return sorted(
        str(path)
        for path in found
        if has_code(path) and not any(d == path or d in path.parents for d in deps)
    )


def has_code(path: Path) -> bool:
    """Whether there is more in it than words, imports and the lookup of plugins."""
    if path.name == "__init__.py" and path.parent in map(Path, ROLES):
        return False
    body = ast.parse(path.read_text()).body
    return any(not isinstance(part, ast.Expr | ast.Import) for part in body)


def imported_by(start: str | Path) -> set[Path]:
    """Files of stages and plugins that a file or a package imports, all the way."""
    start = Path(start)
    todo = list(start.glob("*.py")) if start.is_dir() else [start]
    found = set(todo)
    while todo:
        new = set(imports(todo.pop())) - found
        found |= new
        todo += new
    return found


def imports(path: Path) -> Iterator[Path]:
    """Files of stages and plugins that one imports, with the packages they are in."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = path.parts[: -node.level] if node.level else ()
            module = ".".join((*above, *filter(None, [node.module])))
            names = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] in ("stages", "plugins"):
                for end in range(1, len(parts) + 1):
                    place = Path(*parts[:end])
                    files = (place.with_suffix(".py"), place / "__init__.py")
                    yield from (file for file in files if file.exists())
