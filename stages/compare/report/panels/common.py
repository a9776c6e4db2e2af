"""What several panels share."""

from collections.abc import Iterator

import pandas as pd
from matplotlib.figure import Figure

from stages.compare.report.model import Material, Picture
from stages.compare.report.svg import inline
from stages.compare.summary import blocks, layout, name_block, of_block
from stages.files import hash_of


def each_block(material: Material) -> Iterator[tuple[tuple, str]]:
    """The blocks of the finished cells, each with its name."""
    for block in blocks(material.results.rows):
        yield block, name_block(block)


def each_size(
    material: Material, frame: pd.DataFrame
) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of each block and size, methods as params.yaml has them."""
    for block, caption in each_block(material):
        labels, sizes = layout(material.results, block)
        of_one = of_block(frame, block)
        for size in sizes:
            rows = of_one[of_one["size"] == size]
            if len(rows):
                order = rows["label"].map(labels.index)
                rows = rows.iloc[order.argsort(kind="stable")]
                yield f"{size}: {caption}", rows


def figure(drawn: Figure, caption: str) -> Picture:
    """A plot as it stands in the page; captions are unique, and so name its ids."""
    return Picture(caption, inline(drawn, f"f{hash_of(caption)}", caption))


def labels_of(material: Material, frame: pd.DataFrame) -> list[str]:
    """The methods of a frame, as params.yaml has them."""
    present = set(frame["label"])
    every = dict.fromkeys(material.results.labels.values())
    return [label for label in every if label in present]
