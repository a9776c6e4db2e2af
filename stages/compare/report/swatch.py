"""The legend: a method's line and marker, as in every plot."""

from markupsafe import Markup
from matplotlib.figure import Figure

from stages.compare.report.svg import inline
from stages.files import hash_of


def swatches(
    labels: list[str], styles: dict[str, dict], section: str
) -> list[tuple[str, Markup]]:
    """Label and its sign; each label once in a section."""
    return [
        (label, _sign(label, styles[label], section)) for label in dict.fromkeys(labels)
    ]


def _sign(label: str, style: dict, section: str) -> Markup:
    """A short line with the marker in its middle."""
    figure = Figure(figsize=(0.36, 0.14))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set_axis_off()
    axis.set(xlim=(-1, 1), ylim=(-1, 1))
    axis.plot([-1, 0, 1], [0, 0, 0], **style, markevery=[1])
    return inline(figure, f"s{hash_of([section, label])}", label)
