"""Read conf/claim/*.yaml: what the literature says, as contrasts of cells."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from stages.compare.statistics.measure import METRICS
from stages.files import StageError

CLAIMS = Path(__file__).parents[3] / "conf" / "claim"
EPOCHS = "epochs"
"""Epochs until the validation AP reaches 90 % of where the first of ``more`` ends."""
FIELDS = {"title", "statement", "source", "metric", "margin", "contrasts"}
SIDES = {"more", "less"}

Selector = dict[str, str]
"""Choices of a cell by name, as on the command line; ``decoder`` where not its own."""


@dataclass(frozen=True)
class Contrast:
    """Cells whose sum is claimed to be above the sum of others.

    Attributes:
        more, less: selectors, as many of each.
    """

    more: tuple[Selector, ...]
    less: tuple[Selector, ...]

    @property
    def selectors(self) -> tuple[Selector, ...]:
        """Of both sides."""
        return self.more + self.less


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
        name: of its file.
        title, statement: short, and in a sentence.
        source: where it is made.
        metric: a column of statistics.csv, or `EPOCHS`.
        margin: by how much a contrast may miss zero: "as good as" has one.
        contrasts: all of them must hold.
    """

    name: str
    title: str
    statement: str
    source: str
    metric: str
    margin: float
    contrasts: tuple[Contrast, ...]


def read_claims(folder: Path = CLAIMS) -> list[Claim]:
    """All claims, by name.

    Raises:
        StageError: a file is not a claim; says what was expected.
    """
    return [read_claim(path) for path in sorted(folder.glob("*.yaml"))]


def read_claim(path: Path) -> Claim:
    """One claim.

    Raises:
        StageError: the file is not a claim.
    """
    try:
        given = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise StageError(f"{path} is not valid YAML: {error}") from None
    fault = _fault(given)
    if fault:
        raise StageError(f"{path}: {fault}")
    contrasts = [
        Contrast(*(tuple(_selector(s) for s in one[side]) for side in ("more", "less")))
        for one in given["contrasts"]
    ]
    return Claim(
        name=path.stem,
        contrasts=tuple(contrasts),
        margin=float(given.get("margin", 0)),
        **{name: " ".join(given[name].split()) for name in _TEXTS},
    )


_TEXTS = ("title", "statement", "source", "metric")


def _selector(given: dict) -> Selector:
    return {str(name): str(value) for name, value in given.items()}


def _fault(given: object) -> str | None:
    """What is wrong with the content of a file."""
    if not isinstance(given, dict) or not FIELDS - {"margin"} <= set(given) <= FIELDS:
        return (
            f"expected the entries {', '.join(sorted(FIELDS))} (margin may be absent)"
        )
    if not all(isinstance(given[name], str) for name in _TEXTS):
        return f"expected text for {', '.join(_TEXTS)}"
    if given["metric"] not in (*METRICS, EPOCHS):
        known = ", ".join((*METRICS, EPOCHS))
        return f"metric {given['metric']!r}: expected one of {known}"
    if not isinstance(given.get("margin", 0), int | float):
        return f"margin {given['margin']!r}: expected a number"
    contrasts = given["contrasts"]
    if not isinstance(contrasts, list) or not contrasts:
        return "contrasts: expected a list of more and less"
    for one in contrasts:
        if not isinstance(one, dict) or set(one) != SIDES:
            return f"contrast {one!r}: expected more and less"
        sides = [one[side] for side in sorted(SIDES)]
        if not all(isinstance(side, list) and side for side in sides):
            return f"contrast {one!r}: expected lists of choices"
        if len(sides[0]) != len(sides[1]):
            return f"contrast {one!r}: expected as many of more as of less"
    selectors = [s for one in contrasts for side in SIDES for s in one[side]]
    if not all(isinstance(s, dict) and {"method", "size"} <= set(s) for s in selectors):
        return "contrasts: expected a method and a size in all choices"
    if len({frozenset(set(s) - {"decoder"}) for s in selectors}) > 1:
        return "contrasts: expected the same names in all choices, but for decoder"
    return None
