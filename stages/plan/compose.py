"""What Hydra composes: the choices of each cell, and a cell's settings."""

import functools
import itertools
from pathlib import Path

from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from stages.files import StageError

EXPERIMENT = "+experiment"
GRIDS = ("grid", EXPERIMENT)
"""What names the cells, on the command line."""
CONF = Path(__file__).parents[2] / "conf"


def enumerate_cells(overrides: list[str]) -> tuple[list[dict[str, str]], dict]:
    """Overrides of each cell, name -> value, from the grid and the command line.

    Also the grid's ``start``: what differs in the cell that ``init: start`` means. An
    experiment is a grid in which each method has its published settings, so that
    methods on the command line choose among its own.

    Raises:
        StageError: the experiment has none of these methods.
    """
    given: dict[str, list[str]] = {}
    for override in OverridesParser.create().parse_overrides(overrides):
        name = override.get_key_element()
        if override.is_sweep_override():
            given[name] = list(override.sweep_string_iterator())
        else:
            given[name] = [override.get_value_element_as_str()]
    chosen = {name: given.pop(name)[0] for name in GRIDS if name in given}
    grid = compose("config", [f"{name}={value}" for name, value in chosen.items()]).grid
    methods = given.pop("method") if EXPERIMENT in chosen and "method" in given else []
    cells = []
    for product in OmegaConf.to_container(grid.products):
        axes = {name: [str(v) for v in values] for name, values in product.items()}
        axes |= given
        if methods:
            axes["method"] = [name for name in axes["method"] if name in methods]
        for values in itertools.product(*axes.values()):
            cells.append(dict(zip(axes, values, strict=True)))
    if not cells:
        raise StageError(
            f"{EXPERIMENT}={chosen[EXPERIMENT]} has no method {', '.join(methods)}"
        )
    return cells, OmegaConf.to_container(grid.get("start") or OmegaConf.create())


def drop_what_does_not_apply(cells: list[dict[str, str]]) -> list[dict[str, str]]:
    """Leave out settings that a cell's own choice of method (or the like) lacks.

    So ``method=udp,cal method.loss.offset_weight=0.5,1`` is one cell of udp and two of
    cal. What no cell has is kept, for Hydra to refuse it by name.
    """
    lacking = [{name for name in cell if _lacks(cell, name)} for cell in cells]
    nowhere = set.intersection(*lacking) if lacking else set()
    kept = [
        {name: value for name, value in cell.items() if name not in lacks - nowhere}
        for cell, lacks in zip(cells, lacking, strict=True)
    ]
    return [cell for number, cell in enumerate(kept) if cell not in kept[:number]]


def _lacks(choices: dict[str, str], name: str) -> bool:
    """Whether a cell has no setting of that dotted name."""
    place, _, last = name.rpartition(".")
    if not place or name.startswith(("+", "~")):
        return False
    group = name.partition(".")[0]  # what else is chosen changes no setting's name
    groups = {k: value for k, value in choices.items() if k == group}
    settings = OmegaConf.select(compose_cell(groups), place)
    return not isinstance(settings, DictConfig) or last not in settings


def start_choices(choices: dict[str, str], start: dict) -> dict[str, str]:
    """Choices of the cell that another one starts from.

    Raises:
        StageError: the grid does not say which.
    """
    if not start:
        raise StageError("init=start: expected a grid with a start, such as grid=init")
    kept = {k: v for k, v in choices.items() if k.partition(".")[0] not in start}
    return kept | {name: str(value) for name, value in start.items()}


def compose_cell(choices: dict[str, str]) -> DictConfig:
    """What conf/ composes to with these choices; do not change it."""
    return _composed(tuple(f"{name}={value}" for name, value in choices.items()))


@functools.cache
def _composed(overrides: tuple[str, ...]) -> DictConfig:
    # 20 ms each, and cells of one grid share most of what is asked for.
    return compose("config", list(overrides))


def makes_a_difference(choices: dict[str, str], name: str) -> bool:
    """Whether a choice is not the default: only then the key shows it.

    So the same cell has one name in every grid, and is trained once.
    """
    # Settings of a group exist only where it is chosen. A seed changes nothing else.
    without = (f"{name}.", "seed")
    chosen = {k: value for k, value in choices.items() if not k.startswith(without)}
    others = {k: value for k, value in chosen.items() if k != name}
    return compose_cell(others) != compose_cell(chosen)
