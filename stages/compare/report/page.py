"""Put the panels into the template: one file that needs no network and no server."""

import base64
import hashlib
from pathlib import Path

import matplotlib
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from stages.compare.report.answer import QUESTION, answer
from stages.compare.report.files import read_files
from stages.compare.report.model import Material
from stages.compare.report.panels import PANELS, Section
from stages.compare.report.provenance import Origin, origins
from stages.compare.report.svg import PAGE_RC
from stages.compare.report.swatch import swatches
from stages.compare.rows import Results
from stages.compare.style import method_styles
from stages.files import new_file

TEMPLATES = Path(__file__).with_name("template")


def write_page(results: Results, folder: Path) -> None:
    """Write report.html from what compare has written to ``folder``.

    A panel whose file is absent is left out and named at the end.
    """
    styles = method_styles(results.labels.values())
    material = Material(results, folder, read_files(folder), styles)
    with matplotlib.rc_context(PAGE_RC):
        text = render(material)
    with new_file(folder / "report.html") as handle:
        handle.write(text)


def render(material: Material) -> str:
    """The whole page."""
    results, styles = material.results, material.styles
    shown, absent = [], []
    for section in PANELS:
        reason = _lacks(section, material)
        panel = None if reason else section.make(material)
        if panel and (panel.tables or panel.figures):
            legend = swatches(panel.legend, styles, section.title)
            shown.append((section.title, panel, legend))
        else:
            absent.append((section.title, reason or "no finished cell has figures"))
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    found = origins(results)
    script = (TEMPLATES / "report.js").read_text()
    return environment.get_template("report.html").render(
        question=QUESTION,
        answer=answer(material),
        panels=shown,
        absent=absent,
        missing=results.missing,
        cells=len(results.cells),
        origins=found,
        numbers={key: origin.number for key, origin in found.items()},
        hover=lambda keys: _hover(keys, found),
        style=Markup((TEMPLATES / "report.css").read_text()),
        script=Markup(script),
        script_hash=_content_hash(script),
    )


def _lacks(section: Section, material: Material) -> str:
    """Why a section cannot be made; empty where it can."""
    absent = [name for name in section.needs if name not in material.files]
    return ", ".join(f"results/{name}.csv is absent or empty" for name in absent)


def _hover(keys: tuple[str, ...], found: dict[str, Origin]) -> str:
    """What a row is from, in a line."""
    known = [found[key] for key in keys if key in found]
    if not known:
        return ""
    first = known[0]
    more = f" and {len(known) - 1} more" if len(known) > 1 else ""
    return f"{first.key}{more}; revision {first.revision}. Click for all."


def _content_hash(text: str) -> str:
    """For the content security policy, which runs this script and no other."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
