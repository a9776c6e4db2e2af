"""The sections of the page in their order; a new one is a line of PANELS."""

from collections.abc import Callable
from dataclasses import dataclass

from stages.compare.report.model import Material, Panel
from stages.compare.report.panels.claims import claims
from stages.compare.report.panels.codecs import codecs
from stages.compare.report.panels.cost import cost
from stages.compare.report.panels.decoders import decoders
from stages.compare.report.panels.differences import differences
from stages.compare.report.panels.errors import calibration, error_kinds
from stages.compare.report.panels.keypoints import keypoints, person_sizes
from stages.compare.report.panels.learning import learning
from stages.compare.report.panels.main import main_table
from stages.compare.report.panels.pictures import pictures


@dataclass(frozen=True)
class Section:
    """A panel's function, its heading, and the files that it cannot do without."""

    title: str
    make: Callable[[Material], Panel]
    needs: tuple[str, ...] = ()


PANELS = (
    Section("Results", main_table),
    Section("Claims of the literature", claims, ("claims",)),
    Section("Differences", differences, ("differences",)),
    Section("Decoders", decoders),
    Section("Keypoints", keypoints, ("keypoints",)),
    Section("Size of the person", person_sizes, ("sizes",)),
    Section("Kinds of error", error_kinds, ("error_kinds",)),
    Section("Scores", calibration, ("calibration",)),
    Section("Learning", learning, ("convergence",)),
    Section("Cost", cost, ("cost",)),
    Section("Codecs without a network", codecs, ("codecs/oracle",)),
    Section("Pictures", pictures),
)
