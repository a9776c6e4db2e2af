"""The page of results: what it says, what it leaves out, what cannot break it."""

import html.parser
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from stages.compare import __main__ as stage
from stages.compare.convergence import over_seeds, reached
from stages.compare.documents import latex_document, markdown_document
from stages.compare.metrics import AP, METRICS
from stages.compare.peaks import choose_keypoints, peaks
from stages.compare.report.answer import answer
from stages.compare.report.files import read_files
from stages.compare.report.model import Material
from stages.compare.report.page import write_page
from stages.compare.report.panels.codecs import codecs
from stages.compare.report.svg import INK, explain, inline
from stages.compare.rows import collect
from stages.compare.significance import differences_of, stand
from stages.compare.style import block_stem, method_styles
from stages.compare.summary import blocks
from stages.compare.tables import build_tables
from stages.compare.worst import choose_worst
from stages.files import StageError
from tests.fake_cells import (
    make_cells,
    metric_rows,
    write_grid,
    write_history,
    write_maps,
    write_metrics,
    write_params,
)
from tests.report_files import differences, write_statistics

HOSTILE = r"""<script>hacked=1</script>"'&\end{table}$x$%_|`[a](b)"""


@pytest.fixture(scope="module")
def grid(tmp_path_factory) -> Path:
    """Two methods at two sizes, two seeds, with histories and statistics."""
    root = tmp_path_factory.mktemp("report")
    write_small(root, make_cells(("udp", "cal"), ("128x96", "64x48"), seeds=(0, 1)))
    return root


def write_small(root: Path, cells: dict) -> None:
    """What the page is made from, but for pictures, and the page."""
    write_params(root, cells)
    for key, cell in cells.items():
        write_metrics(root, key, metric_rows(key, cell))
        write_history(root, key, cell)
    results = collect(root)
    stage.write_frames(results, root / "results")
    write_statistics(results, root / "results")
    write_page(results, root / "results")


def material_of(root: Path, **files: pd.DataFrame) -> Material:
    results = collect(root)
    styles = method_styles(results.labels.values())
    folder = root / "results"
    return Material(results, folder, read_files(folder) | files, styles)


class Page(html.parser.HTMLParser):
    """What a browser would find: elements, ids, addresses, text."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.text = (root / "results" / "report.html").read_text()
        self.tags, self.ids, self.addresses, self.words = [], [], [], []
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href"):
                self.addresses.append(value)

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def said(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_page_needs_nothing_else(grid):
    page = Page(grid)
    assert all(a.startswith(("#", "data:")) for a in page.addresses)
    assert "url(http" not in page.text and "@import" not in page.text
    assert len(page.ids) == len(set(page.ids))
    targets = {a[1:] for a in page.addresses if a.startswith("#")}
    assert targets <= set(page.ids)


def test_coarse_errors_say_of_which_data_they_are(tmp_path):
    cells = make_cells(("udp",), ("64x48",))
    cells |= make_cells(("udp", "cal"), ("64x48",), data="coco")
    write_params(tmp_path, cells)
    for key, cell in cells.items():
        write_metrics(tmp_path, key, metric_rows(key, cell))
    coarse = pd.DataFrame({"key": list(cells), "size": "64x48", "within_1_cell": 0.5})
    coarse = coarse.assign(method="", std_x=1.0, std_y=2.0)
    oracle = pd.DataFrame({"codec": ["udp"], "implementation": "ours", "size": "64x48"})
    oracle = oracle.assign(mean_px=0.1, p99_px=0.2)
    files = {"codecs/oracle": oracle, "codecs/coarse_error": coarse}
    _, *tables = codecs(material_of(tmp_path, **files)).tables
    found = {table.caption.partition(": ")[2]: len(table.rows) for table in tables}
    named = "hrnet_micro, quick schedule, ground-truth boxes"
    assert found == {f"synthetic, {named}": 1, f"coco, {named}": 2}


def test_every_panel_is_there_or_named(grid, tmp_path):
    titles = {
        "Claims of the literature", "Differences", "Keypoints", "Size of the person",
        "Kinds of error", "Scores", "Learning", "Cost",
    }  # fmt: skip
    headings = set(re.findall(r"<h2>(.*?)</h2>", Page(grid).text))
    assert titles < headings
    shutil.copytree(grid, tmp_path, dirs_exist_ok=True)
    (tmp_path / "results" / "keypoints.csv").unlink()
    write_page(collect(tmp_path), tmp_path / "results")
    page = Page(tmp_path)
    assert "<h2>Keypoints</h2>" not in page.text
    assert "Keypoints: results/keypoints.csv is absent or empty" in page.said


def test_nothing_finished_gives_a_page_that_says_so(tmp_path):
    cells = make_cells()
    write_params(tmp_path, cells)
    write_page(collect(tmp_path), tmp_path / "results")
    said = Page(tmp_path).said
    assert "No cell is finished" in said and "0 of 9 cells finished" in said
    for key in cells:
        assert f"dvc repro evaluate@{key}" in said


def test_main_table_has_figures_intervals_and_origins(grid):
    page = Page(grid)
    results = collect(grid)
    rows = results.rows.query("own_decoder and label == 'udp' and size == '64x48'")
    shown = AP.text(rows["AP"].mean(), rows["AP"].std())
    low, high = rows["AP"].mean() - 1.96 * 1.1, rows["AP"].mean() + 1.96 * 1.1
    row = next(
        row for row in re.findall(r"<tr.*?</tr>", page.text, re.S)
        if ">udp</button>" in row and ">64x48<" in row and shown in row
    )  # fmt: skip
    assert f"{low:.1f} to {high:.1f}" in row
    assert len(re.search(r'data-origins="([\d ]+)"', row)[1].split()) == 2
    assert "1234567" in row


def test_a_method_has_its_colour_in_plot_and_legend(grid):
    text = Page(grid).text
    legend = re.search(r'<ul class="legend">.*?</ul>', text, re.S)[0]
    signs = re.findall(r"<li>(.*?)</li>", legend, re.S)
    styles = method_styles(collect(grid).labels.values())
    for sign in signs:
        label = re.sub(r"<.*?>", "", sign, flags=re.S).strip()
        assert styles[label]["color"].lower() in sign


def test_svg_has_text_and_the_colours_of_the_page():
    figure = Figure()
    axis = figure.subplots()
    (line,) = axis.plot([0, 1], [0, 1], color="#000000", marker="o")
    explain(line, 'a < b & "c"')
    axis.set_xlabel("a < b", color=INK)
    with stage.look():
        text = inline(figure, "f1", "one & two")
    assert "currentColor" in text and "#000000" not in text and INK not in text
    assert '<title>a &lt; b &amp; "c"</title>' in text
    assert 'aria-label="one &amp; two"' in text
    ids = re.findall(r'id="([^"]+)"', text)
    used = re.findall(r'(?:url\(#|href="#)([^")]+)', text)
    assert ids and all(name.startswith("f1-") for name in ids) and set(used) <= set(ids)
    assert "<metadata" not in text and "<style" not in text


def test_hostile_names_are_only_text(tmp_path):
    cells = make_cells(("udp", "cal"), ("64x48", "128x96"))
    for cell in cells.values():
        if cell["method"] == "cal":
            cell["method"] = HOSTILE
            cell["train"]["note"] = HOSTILE
    write_params(tmp_path, cells)
    for key, cell in cells.items():
        known = cell | {"method": "cal"} if cell["method"] == HOSTILE else cell
        rows = metric_rows(key, known, method=cell["method"])
        rows["decoder"] = rows["decoder"].replace("cal", HOSTILE)
        write_metrics(tmp_path, key, rows)
        write_history(tmp_path, key, known)
    results = collect(tmp_path)
    stage.write_frames(results, tmp_path / "results")
    write_statistics(results, tmp_path / "results")
    write_page(results, tmp_path / "results")
    page = Page(tmp_path)
    assert page.tags.count("script") == 1 and "hacked=1" in page.said
    tables = build_tables(results)
    lines = markdown_document(results, tables).splitlines()
    rows = [line for line in lines if "hacked" in line and line.startswith("|")]
    assert rows and not any("<script" in row for row in rows)
    for row in rows:
        header = [line for line in lines[: lines.index(row)] if line.startswith("| ")]
        cells_of = [len(re.findall(r"(?<!\\)\|", line)) for line in (row, header[-1])]
        assert cells_of[0] == cells_of[1]
        assert "](b)" not in row.replace("\\]", "")
    latex = latex_document(results, tables)
    hostile = [line for line in latex.splitlines() if "hacked" in line]
    for line in hostile:
        assert r"\end{table}" not in line and "$x$" not in line.replace(r"\$", "")
    name = block_stem("plot", 1, ("../x", HOSTILE))
    assert re.fullmatch(r"[\w.-]+", name)


@pytest.mark.parametrize("name", ["../up", "a/b", "..", "a\nb", "/etc"])
def test_names_that_leave_their_folder_are_refused(tmp_path, name):
    cells = make_cells(("udp",), ("64x48",))
    (cell,) = cells.values()
    write_params(tmp_path, {name: cell})
    with pytest.raises(StageError, match="no name of a folder"):
        collect(tmp_path)


def test_answer_names_the_best_its_ties_and_the_doubts(grid):
    ((where, said),) = answer(material_of(grid))
    assert where == "synthetic, hrnet_micro, quick schedule, ground-truth boxes"
    assert "At 64x48 cal has the highest AP" in said
    assert "significantly more than udp" in said
    assert "keeps the largest share of its AP" in said
    assert "one seed" not in said
    tested = differences(collect(grid)).assign(p_corrected=0.3)
    ((_, said),) = answer(material_of(grid, differences=tested))
    assert "udp (46" in said and "is not significantly different from it" in said


def test_answer_of_one_untested_seed_is_cautious(tmp_path):
    cells = make_cells(("udp", "cal", "dark"), ("64x48",))
    write_params(tmp_path, cells)
    for key, cell in list(cells.items())[:2]:
        write_metrics(tmp_path, key, metric_rows(key, cell))
    ((_, said),) = answer(material_of(tmp_path))
    assert "this was not tested" in said and "significantly" not in said
    assert "one seed" in said and "no interval was computed" in said
    assert "1 of 3 cells are not finished" in said


def test_standing_is_decided_by_tests():
    values = pd.Series({"a": 50.0, "b": 49.0, "c": 48.9, "d": np.nan, "e": 49.99})
    pairs = pd.DataFrame(
        [("a", "b", 0.2), ("c", "a", 0.001), ("b", "c", 0.9)],
        columns=["a", "b", "p_corrected"],
    ).assign(metric="AP")
    found = stand(values, AP, pairs)
    assert found.best == "a"
    # b is not told apart; e was not tested and reads the same as a (50.0).
    assert set(found.tied) == {"b", "e"} and found.untested == ("e",)
    assert found.bold == {"a", "b", "e"}
    error = next(metric for metric in METRICS if metric.column == "error_px")
    assert stand(values, error, None).best == "c"
    assert stand(values[["a", "d"]], AP, None).bold == set()


def test_bold_follows_the_tests(tmp_path):
    cells = make_cells(("udp", "dark", "cal"), ("64x48",))
    write_params(tmp_path, cells)
    ap = {"udp": 50.0, "dark": 49.0, "cal": 40.0}
    for key, cell in cells.items():
        rows = metric_rows(key, cell)
        rows.loc[rows["own_decoder"], "AP"] = ap[cell["method"]]
        write_metrics(tmp_path, key, rows)
    results = collect(tmp_path)
    tested = differences(results)
    tested["p_corrected"] = [0.4, 0.001, 0.001]
    (tables,) = build_tables(results, tested).values()
    bold = tables[0].text["method"][tables[0].bold["64x48"]].tolist()
    assert bold == ["udp", "dark"]
    assert "not significantly different" in " ".join(tables[0].notes)
    (block,) = blocks(results.rows)
    assert differences_of(tested, block, "32x24").empty


def test_first_epoch_that_reaches_a_level():
    curves = pd.DataFrame(
        {"key": "k", "seconds": 2.0, "epoch": [1, 2, 3, 4],
         "val_ap": [4.0, np.nan, 11.0, 9.0], "val_pck": [10.0, np.nan, 16.0, 20.0]}
    )  # fmt: skip
    for name in ("label", "data", "size", "upscale", "backbone", "schedule", "seed"):
        curves[name] = "x"
    found = reached(curves).set_index("level")
    assert found["epoch"].to_dict() == {5: 3, 10: 3}
    assert found["trained_s"].to_dict() == {5: 6.0, 10: 6.0}
    assert set(found["metric"]) == {"AP"}
    # A block of which no training tells its AP, beside the first.
    older = curves.assign(key="older", schedule="other", val_ap=np.nan)
    both = reached(pd.concat([curves, older])).set_index(["metric", "level"])
    assert both.loc["AP", "epoch"].to_dict() == {5: 3, 10: 3}
    assert both.loc["PCK", "epoch"].to_dict() == {5: 1, 10: 1, 15: 3, 20: 4}


def test_band_is_over_the_epochs_that_all_seeds_have():
    curves = pd.DataFrame(
        {"key": ["a", "a", "b"], "epoch": [1, 2, 1], "seconds": [2.0, 2.0, 4.0],
         "val_pck": [10.0, 20.0, 14.0]}
    )  # fmt: skip
    (row,) = over_seeds(curves, "val_pck").to_dict("records")
    assert row["epoch"] == 1 and row["mean"] == 12 and row["trained_s"] == 3
    assert row["deviation"] == pytest.approx(np.sqrt(8))


def test_worst_are_the_lowest_oks_of_well_labelled_persons(tmp_path):
    from plugins.datasets.crop_store import CropStore
    from stages.compare.pictures import Prediction

    write_grid(tmp_path, make_cells(("udp",), ("64x48",)))
    store = CropStore(tmp_path / "data" / "stores" / "synthetic-64x48" / "val")
    store.visible[2, 4:] = 0
    oks = np.linspace(0, 1, len(store))
    oks[0] = np.nan
    ids = store.annotation_id.tolist()
    one = Prediction(store, {p: n for n, p in enumerate(ids)}, None, oks)
    assert choose_worst(one, 3) == [ids[1], ids[3], ids[4]]


def test_peaks_draw_offsets_of_strong_cells(tmp_path):
    cells = make_cells(("udp", "cal"), ("64x48",))
    write_params(tmp_path, cells)
    for key, cell in cells.items():
        write_metrics(tmp_path, key, metric_rows(key, cell))
        write_maps(tmp_path, key, cell)
    results = collect(tmp_path)
    figure = peaks(results, blocks(results.rows.drop(columns="boxes"))[0])
    udp, cal = figure.axes[:2]
    assert udp.get_title() == "udp" and not udp.collections
    (arrows,) = cal.collections
    ends = np.stack([arrows.X + arrows.U, arrows.Y + arrows.V], -1)
    truth = cal.lines[0].get_xydata()[0]
    assert len(ends) > 1 and ends == pytest.approx(np.tile(truth, (len(ends), 1)))
    (tmp_path / "results" / "cells" / next(iter(cells)) / "maps.npz").write_bytes(b"x")
    with pytest.raises(StageError, match="evaluate"):
        peaks(results, blocks(results.rows.drop(columns="boxes"))[0])


def test_shown_keypoint_is_the_one_of_median_error():
    from stages.compare.peaks import Maps

    truth = np.zeros((1, 4, 2))
    decoded = np.array([[[3.0, 0], [1, 0], [9, 0], [2, 0]]])
    maps = Maps(np.zeros((1, 4, 5, 5)), None, truth, decoded, np.array([[2, 2, 0, 1]]))
    assert choose_keypoints([maps]) == [3]
