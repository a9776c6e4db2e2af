"""People as the networks saw them, as images inside the page."""

import base64
import io

from markupsafe import Markup, escape
from PIL import Image

from stages.compare.pictures import has_file
from stages.compare.report.model import Material, Panel, Picture
from stages.compare.style import block_stem
from stages.compare.summary import blocks, name_block

BUDGET = 3_000_000
"""Bytes of images that a page may hold; what is beyond is named, not shown."""
WIDEST = 1800
QUALITY = 80
SHOWN = {
    "predictions": (
        "predictions.npz",
        "The same people at every size, drawn over the pixels that the network saw, "
        "from poor to good; the number is the person's OKS",
    ),
    "worst": ("predictions.npz", "Each method's worst people by OKS; white: truth"),
    "peaks": (
        "maps.npz",
        "Heatmaps around the true keypoint (cross) of a few people; arrows: the "
        "offsets of strong cells, dot: the decoded keypoint, number: its error (cells)",
    ),
}
"""Plot -> the file of a cell that it needs, and what it shows."""


def pictures(material: Material) -> Panel:
    """The pictures of results/plots, as far as they fit."""
    panel = Panel()
    folder = material.folder / "plots"
    spent = 0
    without_boxes = material.results.rows.drop(columns="boxes")
    for number, block in enumerate(blocks(without_boxes)):
        for stem, (needs, caption) in SHOWN.items():
            path = folder / f"{block_stem(stem, number, block)}.png"
            if not path.exists() or not has_file(material.results, block, needs):
                continue
            data = encode(path.read_bytes())
            caption = f"{caption}. {name_block(block)}"
            panel.sources.append(f"plots/{path.name}")
            if spent + len(data) > BUDGET:
                panel.text.append(f"Not shown, for its size: results/plots/{path.name}")
                continue
            spent += len(data)
            panel.figures.append(Picture(caption, _element(data, caption), wide=True))
    return panel


def encode(png: bytes) -> bytes:
    """A PNG as WebP, at most so wide that a page stays small."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    if image.width > WIDEST:
        height = round(image.height * WIDEST / image.width)
        image = image.resize((WIDEST, height), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    image.save(written, "WEBP", quality=QUALITY, method=4)
    return written.getvalue()


def _element(data: bytes, caption: str) -> Markup:
    source = f"data:image/webp;base64,{base64.b64encode(data).decode()}"
    return Markup(f'<img alt="{escape(caption)}" src="{source}">')
