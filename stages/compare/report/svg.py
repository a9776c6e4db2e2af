"""Matplotlib's figures as SVG inside a page: with text, in the page's colours."""

import io
from xml.etree import ElementTree

from markupsafe import Markup
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from stages.compare.style import RC

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
INK, LINE, PAPER = "#010203", "#030201", "#ffffff"
"""Colours that stand for the page's own, which differ between light and dark."""

COLOURS = {
    INK: "currentColor",
    "#000000": "currentColor",
    LINE: "var(--line)",
    PAPER: "var(--page)",
}
PAGE_RC = RC | {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": LINE,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}
"""How the figures of the page are built; text stays text."""

HOVER = "hover:"
ElementTree.register_namespace("", SVG)
ElementTree.register_namespace("xlink", XLINK)


def explain(artist: Artist, text: str) -> None:
    """Show ``text`` where a reader points at the artist."""
    artist.set_gid(HOVER + text)


def inline(figure: Figure, name: str, description: str) -> Markup:
    """The figure as an ``<svg>`` element.

    Args:
        name: goes before every id, which must be unique in the page.
        description: what a reader hears who does not see it.
    """
    written = io.BytesIO()
    figure.savefig(written, format="svg", metadata={"Date": None})
    root = ElementTree.fromstring(written.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                parent.remove(child)
    for number, element in enumerate(root.iter()):
        _adapt(element, name, number)
    for side in ("width", "height"):
        root.attrib.pop(side)
    root.attrib |= {"role": "img", "aria-label": description}
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _adapt(element: ElementTree.Element, name: str, number: int) -> None:
    """Make ids unique, colours the page's, and explanations titles."""
    own = element.attrib.get("id", "")
    if own.startswith(HOVER):
        title = ElementTree.Element(f"{{{SVG}}}title")
        title.text = own.removeprefix(HOVER)
        element.insert(0, title)
        element.attrib["id"] = f"{name}-{number}"
    elif own:
        element.attrib["id"] = f"{name}-{own}"
    for key, value in element.attrib.items():
        if key in ("style", "clip-path"):
            for colour, replacement in COLOURS.items():
                value = value.replace(colour, replacement)
            element.attrib[key] = value.replace("url(#", f"url(#{name}-")
        elif key == f"{{{XLINK}}}href":
            element.attrib[key] = value.replace("#", f"#{name}-", 1)
