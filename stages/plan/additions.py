"""Cells that sweeps add to params.yaml, beside those of the plan."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import yaml

from stages.files import PARAMS, StageError, new_file
from stages.locks import hold
from stages.plan.params import render
from stages.settings import REPLAN, load_yaml

LOCK = Path(".work/params.lock")


@contextlib.contextmanager
def new_params() -> Iterator:
    """Open a new params.yaml; one process at a time."""
    with hold(LOCK), new_file(PARAMS) as handle:
        yield handle


def add_to_params(added: dict) -> None:
    """Add cells, and the data and stores that they need, to params.yaml.

    Several processes may do so at once.

    Args:
        added: what ``plan`` composed.

    Raises:
        StageError: params.yaml is unreadable, or it has other data or stores under
            these names, which cells of its own depend on.
    """
    with hold(LOCK):
        params = read_whole_params() or added
        merged = merge(params, added)
        if merged != params or not PARAMS.exists():
            with new_file(PARAMS) as handle:
                handle.write(render(merged))


def read_whole_params() -> dict:
    """params.yaml as it is; empty where there is none.

    Raises:
        StageError: it is not what ``python -m stages.plan`` writes.
    """
    if not PARAMS.exists():
        return {}
    try:
        params = load_yaml(PARAMS)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StageError(f"{PARAMS} is not valid YAML: {error}; {REPLAN}") from None
    sections = params if isinstance(params, dict) else {}
    if not isinstance(sections.get("plan"), list) or "cells" not in sections:
        raise StageError(f"{PARAMS} is not what python -m stages.plan writes; {REPLAN}")
    return params


def merge(params: dict, added: dict) -> dict:
    """Both plans' items; the added cells replace those of the same name.

    Raises:
        StageError: the same name of other data or another store, which would change
            what the cells of params.yaml are made from.
    """
    others = params["cells"].keys() - added["cells"].keys()
    known = [params["plan"], *params.get("sweeps", [])]
    sweeps = known[1:] + ([] if added["plan"] in known else [added["plan"]])
    merged = {"plan": params["plan"]} | ({"sweeps": sweeps} if sweeps else {})
    shared = added.keys() - {"plan", "cells", "transfers"}
    for section in shared if others else ():
        for name, settings in added[section].items():
            before = params.get(section, {}).get(name, settings)
            if before != settings:
                raise StageError(
                    f"{PARAMS} has {section} {name!r} with other settings "
                    f"({differences(before, settings)}), and cells that depend on it; "
                    f"give the sweep's {section} a name of its own (data.name=...), or "
                    "write params.yaml anew with python -m stages.plan"
                )
    sections = [*added, *(section for section in params if section not in added)]
    for section in sections:
        if section not in ("plan", "sweeps"):
            merged[section] = params.get(section, {}) | added.get(section, {})
    return merged


def differences(before: dict, after: dict) -> str:
    """Such as ``train: 24 -> 3000``."""
    names = [name for name in before | after if before.get(name) != after.get(name)]
    return ", ".join(f"{n}: {before.get(n)} -> {after.get(n)}" for n in names)
