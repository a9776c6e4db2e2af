"""What the networks saw and said: skeletons over the same persons at every size."""

import textwrap
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from plugins.datasets.crop_store import CropStore
from stages.compare.rows import Results
from stages.compare.style import empty_figure, method_styles
from stages.compare.summary import layout, name_block, of_block
from stages.files import StageError

PERSONS = 6
PANEL = 0.95
"""Width of one crop in inches."""
EDGE = 0.05
"""White around the figure in inches."""
NARROWEST = 2.0
"""Width of a figure in inches: a title needs it."""
TITLE, LINE = 13, 0.16
"""Letters of the title to an inch, and inches that a line of it takes."""
MOST_COLUMNS = 15
"""Crops side by side, at most; further sizes go below."""
TRUTH = "ground truth"


@dataclass(frozen=True)
class Prediction:
    """What one checkpoint predicts with its own decoder.

    Attributes:
        store: the crops that it was evaluated on.
        row: annotation id -> place.
        keypoints: (N, K, 2) in image px.
        oks: (N,), NaN where it is not defined.
    """

    store: CropStore
    row: dict[int, int]
    keypoints: np.ndarray
    oks: np.ndarray


def predictions(results: Results, block: tuple) -> Figure:
    """Persons as rows; for each size the ground truth and each method as columns.

    The persons are spread evenly over the ranks of the OKS that all shown cells
    reach on average, from poor to good, so that they are no selection by eye. Limbs
    are drawn where both ends are labelled; the number is the person's OKS.
    """
    labels, sizes = layout(results, block)
    said = load(results, block)
    persons = choose_persons(list(said.values()), PERSONS)
    if not persons:
        return empty_figure("no finished cell with predictions and a crop store")
    first = {size: one.store for (size, _), one in reversed(said.items())}
    parts = split(said, labels, [size for size in sizes if size in first])
    styles = {TRUTH: {"color": "white"}, **method_styles(results.labels.values())}
    parts = [(size, [TRUTH, *some]) for size, some in parts]
    figure, grids = panels(parts, first, len(persons), name_block(block))
    for axes, (size, columns) in zip(grids, parts, strict=True):
        for column, name in enumerate(columns):
            color = styles[name]["color"]
            for axis, person in zip(axes[:, column], persons, strict=True):
                axis.set(xticks=[], yticks=[], frame_on=False)
                if name == TRUTH:
                    draw_person(axis, first[size], person, None, color)
                elif (size, name) in said:
                    shown = said[size, name]
                    draw_person(axis, shown.store, person, shown, color)
            axes[0, column].set_title(wrapped(name), fontsize=8, pad=3)
        name_size(axes[0, 0], size, columns)
    return figure


def choose_persons(said: list[Prediction], count: int) -> list[int]:
    """Annotation ids that all have, at evenly spaced ranks of their mean OKS."""
    if not said:
        return []
    known = [set(one.row) & set(one.store.annotation_id.tolist()) for one in said]
    common = sorted(set.intersection(*known))
    mean = np.zeros(len(common))
    for one in said:
        mean += one.oks[[one.row[person] for person in common]] / len(said)
    defined = np.flatnonzero(~np.isnan(mean))
    ranked = defined[np.argsort(mean[defined], kind="stable")]
    count = min(count, len(ranked))
    places = (np.arange(count) + 0.5) * len(ranked) / max(count, 1)
    return [common[place] for place in ranked[places.astype(int)]]


def to_input(store: CropStore, row: int, keypoints: np.ndarray) -> np.ndarray:
    """Bring a person's keypoints (K, 2) from image px to input px.

    The inverse of `CropStore.to_image_pixels` for the person in place ``row``.
    """
    affine = store.to_image[row]
    crop = np.linalg.solve(affine[:, :2], (keypoints - affine[:, 2]).T).T
    return store.geometry.to_input(crop)


def has_file(results: Results, block: tuple, name: str) -> bool:
    """Whether a cell of the block left a file of this name to draw from."""
    keys = of_block(results.rows, block)["key"].unique()
    folder = results.root / "results" / "cells"
    return any((folder / key / name).exists() for key in keys)


def load(results: Results, block: tuple) -> dict[tuple[str, str], Prediction]:
    """Predictions by (size, label), of the first seed of each."""
    rows = of_block(results.rows, block)
    own = rows[rows["own_decoder"]].drop_duplicates(["size", "label"])
    said = {}
    for row in own.itertuples():
        path = results.root / "results" / "cells" / row.key / "predictions.npz"
        store = results.root / "data" / "stores" / results.cells[row.key]["store"]
        if path.exists() and (store / "manifest.json").exists():
            said[row.size, row.label] = read_prediction(path, row.decoder, store)
    return said


def read_prediction(path: Path, decoder: str, store: Path) -> Prediction:
    """Read one decoder of a cell's predictions, and the crops they are of.

    Raises:
        StageError: a file is unreadable or lacks the decoder.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            place = file["decoders"].tolist().index(decoder)
            ids = file["annotation_id"].tolist()
            return Prediction(
                store=CropStore(store / "val"),
                row={person: n for n, person in enumerate(ids)},
                keypoints=file["keypoints"][place],
                oks=file["oks"][place],
            )
    except (ValueError, KeyError, OSError, BadZipFile) as error:
        raise StageError(
            f"{path}, {store}: {error}; run python -m stages.evaluate "
            f"{path.parent.name} again"
        ) from None


def split(
    said: dict[tuple[str, str], object], labels: list[str], sizes: list[str]
) -> list[tuple[str, list[str]]]:
    """Each size with the methods that have something to show, some at a time."""
    parts = []
    for size in sizes:
        present = [label for label in labels if (size, label) in said]
        most = MOST_COLUMNS - 1
        parts += [(size, present[n : n + most]) for n in range(0, len(present), most)]
    return parts


def panels(
    parts: list[tuple[str, list[str]]],
    first: dict[str, CropStore],
    rows: int,
    title: str,
    named: bool = True,
) -> tuple[Figure, list[np.ndarray]]:
    """A figure made to measure, with its title and axes (rows, columns) for each part.

    Parts stand side by side as long as the crops stay large enough to be read.

    Args:
        parts: size and names of the columns.
        first: a crop store of each size; without one, panels are square.
        rows: of each part.
        title: in as many lines as the figure's width needs.
        named: whether there is room for a name above each part.
    """
    shapes = [first[size].input_size if size in first else (1, 1) for size, _ in parts]
    columns = max((names for _, names in parts), key=len)
    gap = 0.15
    lines = max(wrapped(name).count("\n") for _, names in parts for name in names)
    head = (0.5 if named else 0.25) + 0.14 * lines
    across = min(len(shapes), max(1, MOST_COLUMNS // len(columns)))
    wide = PANEL * len(columns)
    tall = PANEL * rows * max(height / width for width, height in shapes)
    width = max(2 * EDGE + across * (wide + gap) - gap, NARROWEST)
    said = textwrap.fill(title, int(TITLE * width))
    titled = EDGE + LINE * (1 + said.count("\n"))
    height = titled + -(-len(shapes) // across) * (head + tall + EDGE)
    figure = Figure(figsize=(width, height))
    figure.suptitle(said, fontsize="medium", y=1 - EDGE / height, va="top")
    axes = []
    for place in range(len(shapes)):
        down, right = divmod(place, across)
        left = EDGE + right * (wide + gap)
        top = height - titled - head - down * (head + tall + EDGE)
        grid = figure.add_gridspec(
            rows, len(columns), wspace=0.03, hspace=0.03, left=left / width,
            right=(left + wide) / width, bottom=(top - tall) / height, top=top / height,
        )  # fmt: skip
        axes.append(grid.subplots(squeeze=False))
    return figure, axes


def wrapped(name: str) -> str:
    """A column's name in lines that fit above a crop."""
    return textwrap.fill(name, 16)


def name_size(axis: Axes, size: str, columns: list[str]) -> None:
    """Say the size above the names of a part's columns."""
    lines = max(wrapped(name).count("\n") for name in columns)
    axis.annotate(
        size, (0, 1), (0, 16 + 10 * lines), fontweight="bold",
        xycoords="axes fraction", textcoords="offset points",
    )  # fmt: skip


def draw_person(
    axis: Axes, store: CropStore, person: int, said: Prediction | None, color: str
) -> None:
    """The input pixels, and over them a prediction or else the ground truth."""
    row = int(np.flatnonzero(store.annotation_id == person)[0])
    width, height = store.input_size
    axis.imshow(store.inputs(slice(row, row + 1))[0], interpolation="none")
    axis.grid(False)
    keypoints = store.geometry.to_input(store.keypoints[row])
    if said is not None:
        n = said.row[person]
        keypoints = to_input(store, row, said.keypoints[n])
        axis.text(
            0.97, 0.02, f"{said.oks[n]:.2f}", transform=axis.transAxes, ha="right",
            fontsize=7, color="white",
            path_effects=[withStroke(linewidth=1.5, foreground="black")],
        )  # fmt: skip
    limbs = store.keypoint_set.skeleton
    _draw_skeleton(axis, keypoints, store.visible[row] > 0, limbs, color)
    # A keypoint outside the input must not widen the view.
    axis.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def _draw_skeleton(
    axis: Axes,
    keypoints: np.ndarray,
    labelled: np.ndarray,
    skeleton: tuple[tuple[int, int], ...],
    color: str,
) -> None:
    """Limbs and labelled keypoints (K, 2), in input px, outlined."""
    limbs = [keypoints[[a, b]] for a, b in skeleton if labelled[a] and labelled[b]]
    outer = "black" if color == "white" else "white"
    outline = [withStroke(linewidth=2.2, foreground=outer)]
    axis.add_collection(
        LineCollection(limbs, colors=color, linewidths=1.4, path_effects=outline)
    )
    axis.plot(*keypoints[labelled].T, "o", color=color, markersize=2.0)
