"""The compare stage: what it counts, what it refuses, what it writes."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from plugins.datasets.crop_store import CropStore
from stages.compare import __main__ as stage
from stages.compare import pictures, plots
from stages.compare.cells import label_methods
from stages.compare.convergence import convergence, reached
from stages.compare.documents import to_latex, to_markdown
from stages.compare.metrics import METRICS
from stages.compare.peaks import peaks
from stages.compare.rows import collect
from stages.compare.style import WIDTH, add_legend, method_styles
from stages.compare.summary import comparison, layout, summarise
from stages.compare.tables import Table, best, build_tables
from stages.compare.worst import worst
from stages.files import StageError
from tests.fake_cells import (
    make_cells,
    metric_rows,
    shrink_codec_report,
    write_grid,
    write_history,
    write_maps,
    write_metrics,
    write_params,
    write_predictions,
    write_store,
)

REPOSITORY = Path(__file__).parents[1]


def finish(root: Path, cells: dict, **changes) -> None:
    """params.yaml and metrics.csv of every cell; ``changes`` overwrite columns."""
    write_params(root, cells)
    for key, cell in cells.items():
        write_metrics(root, key, metric_rows(key, cell, **changes))


def finish_with_ap(root: Path, ap: dict[str, float], cells: dict) -> None:
    """Every cell's own decoder reaches the AP given by key."""
    write_params(root, cells)
    for key, cell in cells.items():
        rows = metric_rows(key, cell)
        rows.loc[rows["own_decoder"], "AP"] = ap[key]
        write_metrics(root, key, rows)


def tables_of(root: Path) -> list[Table]:
    (tables,) = build_tables(collect(root)).values()
    return tables


def bold_of(table: Table) -> set[tuple[str, str]]:
    """(row name, column) of what is bold."""
    mask = table.bold.set_axis(table.text["method"])
    return {(row, column) for column in mask for row in mask.index[mask[column]]}


@pytest.fixture(scope="module", autouse=True)
def small_codec_report():
    with pytest.MonkeyPatch.context() as patch:
        shrink_codec_report(patch)
        yield


@pytest.fixture(scope="module")
def grid(tmp_path_factory) -> Path:
    """Two methods at two sizes, everything finished and compared once."""
    root = tmp_path_factory.mktemp("grid")
    write_grid(root, make_cells(methods=("udp", "cal"), sizes=("128x96", "64x48")))
    stage.main(root)
    return root


def test_best_of_a_size_is_bold_and_so_is_a_tie(tmp_path):
    cells = make_cells(methods=("udp", "dark", "cal"), sizes=("64x48", "128x96"))
    ap = dict(zip(cells, [50.0, 50.04, 49.9, 60.0, 61.0, 60.94], strict=True))
    finish_with_ap(tmp_path, ap, cells)
    table = tables_of(tmp_path)[0]
    # 50.0 and 50.04 read the same; 61.0 and 60.94 do not.
    assert bold_of(table) == {("udp", "64x48"), ("dark", "64x48"), ("dark", "128x96")}
    assert "| **50.0** | 60.0 |" in to_markdown(table)
    assert r"\textbf{50.0} & \textbf{61.0}" in to_latex(table, "")


def test_lower_error_is_best_and_a_lone_row_is_not():
    error = next(metric for metric in METRICS if metric.column == "error_px")
    assert best(error, pd.Series([1.2, 0.8, np.nan])).tolist() == [False, True, False]
    assert not best(error, pd.Series([1.2, np.nan])).any()


def test_missing_cells_are_named_with_their_command(tmp_path, capsys, monkeypatch):
    cells = make_cells(methods=("udp", "cal"), sizes=("64x48",))
    finish(tmp_path, cells)
    gone = "synthetic-64x48-hrnet_micro-cal-s0"
    shutil.rmtree(tmp_path / "results" / "cells" / gone)
    monkeypatch.chdir(tmp_path)
    stage.main()
    document = (tmp_path / "results" / "comparison.md").read_text()
    assert "1 of 2 cells finished" in document
    assert f"`dvc repro evaluate@{gone}`" in document
    assert "| cal | – |" in document
    assert capsys.readouterr().err == f"missing: {gone} (dvc repro evaluate@{gone})\n"


def test_nothing_finished_gives_empty_but_valid_files(tmp_path, capsys):
    write_params(tmp_path, make_cells())
    stage.main(tmp_path)
    results = tmp_path / "results"
    assert json.loads((results / "metrics.json").read_text()) == {}
    for name in ("metrics", "comparison", "ap_vs_size", "curves"):
        frame = pd.read_csv(results / f"{name}.csv")
        assert frame.empty and "method" in frame
    assert "0 of 9 cells finished" in (results / "comparison.md").read_text()
    assert "no cell is finished" in capsys.readouterr().err
    stems = {
        "ap_vs_size",
        "error_vs_size",
        "training_curves",
        "convergence",
        "decoders",
    }
    stems |= {"predictions", "worst", "peaks", "pareto"}
    assert {p.stem for p in (results / "plots").iterdir()} == stems


def test_folder_of_a_cell_outside_params_is_not_counted(tmp_path):
    cells = make_cells(methods=("udp", "cal"), sizes=("64x48",))
    finish(tmp_path, cells)
    for key, cell in cells.items():
        write_history(tmp_path, key, cell)
    kept = {key: cell for key, cell in cells.items() if cell["method"] == "udp"}
    write_params(tmp_path, kept)
    results = collect(tmp_path)
    assert set(results.rows["key"]) == set(results.curves["key"]) == set(kept)
    assert results.missing == []


def test_different_data_under_one_name_is_refused(tmp_path):
    cells = make_cells(methods=("udp", "cal"), sizes=("64x48",))
    finish(tmp_path, cells)
    first, second = cells
    write_metrics(
        tmp_path, second, metric_rows(second, cells[second], data_hash="0" * 12)
    )
    with pytest.raises(StageError) as error:
        collect(tmp_path)
    assert first in str(error.value) and second in str(error.value)
    assert "synthetic" in str(error.value)


def test_different_data_under_two_names_is_fine(tmp_path):
    cells = make_cells(methods=("udp",), sizes=("64x48",))
    other = make_cells(methods=("udp",), sizes=("64x48",), data="coco")
    finish(tmp_path, cells | other)
    for key, cell in other.items():
        write_metrics(tmp_path, key, metric_rows(key, cell, data_hash="0" * 12))
    assert len(build_tables(collect(tmp_path))) == 2


def test_seeds_are_averaged(tmp_path):
    cells = make_cells(methods=("udp", "cal"), sizes=("64x48",), seeds=(0, 1, 2))
    ap = dict(zip(cells, [40.0, 42.0, 47.0, 50.0, 50.0, 50.0], strict=True))
    finish_with_ap(tmp_path, ap, cells)
    summary = summarise(collect(tmp_path).rows)
    udp = summary[summary["own_decoder"] & (summary["label"] == "udp")].iloc[0]
    assert udp["seeds"] == 3
    assert udp["AP"] == pytest.approx(43.0)
    assert udp["AP_std"] == pytest.approx(3.605551, abs=1e-6)  # sqrt(13)
    table = tables_of(tmp_path)[0]
    assert table.text["64x48"].tolist() == ["43.0 ± 3.6", "50.0 ± 0.0"]
    assert not any("one seed:" in note for note in table.notes)
    assert r"43.0 $\pm$ 3.6" in to_latex(table, "")


def test_one_seed_says_that_it_ranks_checkpoints(tmp_path):
    finish(tmp_path, make_cells(methods=("udp", "cal"), sizes=("64x48",)))
    ap, _, decoders = tables_of(tmp_path)
    assert "ranking of checkpoints, and not yet of methods" in to_markdown(ap)
    assert "ranking of checkpoints, and not yet of methods" in to_latex(decoders, "")


def test_other_settings_are_no_other_seed(tmp_path):
    cells = make_cells(methods=("cal",), sizes=("64x48",), seeds=(0, 1))
    _, second = cells
    cells[second]["train"]["optimizer"]["lr"] = 0.01
    ap = dict(zip(cells, [50.0, 60.0], strict=True))
    finish_with_ap(tmp_path, ap, cells)
    text = tables_of(tmp_path)[0].text
    assert text["method"].tolist() == ["cal", "cal (lr=0.01)"]
    assert text["64x48"].tolist() == ["50.0", "60.0"]


def test_settings_of_one_name_are_told_apart():
    cells = make_cells(methods=("cal",), sizes=("64x48",), seeds=(0, 1))
    first, second = cells
    for sizes in (cells[second]["train"], cells[second]["evaluate"]):
        sizes["batch_size"] = 8
    labels = label_methods(cells)
    expected = "cal (evaluate.batch_size=8, train.batch_size=8)"
    assert (labels[first], labels[second]) == ("cal", expected)


def test_order_is_sizes_by_pixels_and_methods_as_in_params(tmp_path):
    cells = make_cells(methods=("udp", "cal", "dark"), sizes=("128x96", "32x24"))
    finish(tmp_path, cells)
    ap, metrics, _ = tables_of(tmp_path)
    assert list(ap.text) == ["method", "32x24", "128x96"]
    assert ap.text["method"].tolist() == ["udp", "cal", "dark"]
    assert metrics.text["size"].tolist() == ["32x24"] * 3 + ["128x96"] * 3


def test_decoders_of_a_checkpoint_are_compared_with_one_another(tmp_path):
    cells = make_cells(methods=("udp", "cal"), sizes=("64x48",))
    finish(tmp_path, cells)
    rows = metric_rows(*next(iter(cells.items())))
    rows["AP"] = rows["decoder"].map(
        {"udp": 40.0, "argmax": 35.0, "dark": 39.0, "quadfit": 41.0}
    )
    write_metrics(tmp_path, next(iter(cells)), rows)
    table = tables_of(tmp_path)[2]
    assert table.text["decoder"].tolist()[:2] == ["udp (own)", "argmax"]
    bold = table.text[table.bold["64x48"]]
    assert bold["decoder"].tolist() == ["quadfit", "cal (own)"]


def test_published_figures_stand_below_their_method(tmp_path):
    cells = make_cells(
        methods=("udp", "cal"), sizes=("64x48",), data="coco", backbone="hrnet_w32"
    )
    finish(tmp_path, cells)
    table = tables_of(tmp_path)[0]
    names = table.text["method"].tolist()
    assert names[::2] == ["udp", "cal"]
    assert names[3] == "cal, CAL README (coco_val2017, boxes: unstated)"
    assert table.text["64x48"].tolist()[1::2] == ["47.4", "58.4"]
    assert not table.bold.iloc[1::2].to_numpy().any()
    assert any("published" in note for note in table.notes)
    rows = comparison(collect(tmp_path))
    cited = rows[rows["source"] == "CAL README"]
    assert cited["data"].tolist() == ["coco_val2017"] * 2


def test_no_published_figure_is_silent(tmp_path):
    finish(tmp_path, make_cells(methods=("udp", "cal"), sizes=("64x48",)))
    assert "published" not in to_markdown(tables_of(tmp_path)[0])


def test_special_characters_are_escaped():
    text = pd.DataFrame({"a_b": ["50% & #1 {x}\\y^2~|"], "c": ["1.0 ± 0.1"]})
    bold = pd.DataFrame({"a_b": [False], "c": [True]})
    table = Table("a caption", ["a_note"], text, bold, 1)
    latex = to_latex(table, "hrnet_w32")
    assert (
        r"50\% \& \#1 \{x\}\textbackslash{}y\textasciicircum{}2\textasciitilde{}"
        r"\textbar{} & \textbf{1.0 $\pm$ 0.1} \\"
    ) in latex
    assert r"hrnet\_w32. A\_note." in latex and r"a\_b & c \\" in latex
    row = next(line for line in to_markdown(table).splitlines() if "50%" in line)
    assert len(re.findall(r"(?<!\\)\|", row)) == 3


def test_hashes_and_none_are_read_as_text(tmp_path):
    cells = make_cells(methods=("cal",), sizes=("64x48",))
    finish(tmp_path, cells, data_hash="123e45678901", git_revision="0012345")
    stage.write_frames(collect(tmp_path), tmp_path / "results")
    text = (tmp_path / "results" / "metrics.csv").read_text()
    assert ",none," in text and ",123e45678901," in text and ",0012345," in text
    assert ",12e456789012," in text


def test_rows_of_other_settings_are_left_out_and_named(tmp_path, capsys, monkeypatch):
    """params.yaml was changed after they were evaluated."""
    cells = make_cells(methods=("udp", "cal"), sizes=("64x48",))
    finish(tmp_path, cells)
    fresh, stale = cells
    for key in cells:
        write_history(tmp_path, key, cells[key])
    cells[stale]["train"]["optimizer"]["lr"] = 0.5
    write_params(tmp_path, cells)
    results = collect(tmp_path)
    assert set(results.rows["key"]) == set(results.curves["key"]) == {fresh}
    assert results.missing == results.stale == [stale]
    monkeypatch.chdir(tmp_path)
    stage.main()
    said = capsys.readouterr().err
    assert said == (
        f"evaluated with other settings: {stale} (dvc repro evaluate@{stale})\n"
    )


def test_metrics_of_another_cell_or_version_are_refused(tmp_path):
    cells = make_cells(methods=("udp", "cal"), sizes=("64x48",))
    finish(tmp_path, cells)
    first, second = cells
    rows = metric_rows(first, cells[first])
    write_metrics(tmp_path, second, rows)
    with pytest.raises(StageError, match=f"{second}.*expected rows of"):
        collect(tmp_path)
    write_metrics(tmp_path, second, rows.assign(key=second, own_decoder=False))
    with pytest.raises(StageError, match="exactly one own decoder"):
        collect(tmp_path)
    write_metrics(tmp_path, second, rows.drop(columns="PCK"))
    with pytest.raises(StageError, match="no column PCK"):
        collect(tmp_path)


def test_params_without_cells_are_refused(tmp_path):
    with pytest.raises(StageError, match="not found"):
        collect(tmp_path)
    write_params(tmp_path, {})
    with pytest.raises(StageError, match="names no cells"):
        collect(tmp_path)


def test_error_is_relative_to_what_the_network_sees(tmp_path):
    cells = make_cells(methods=("cal",), sizes=("64x48",))
    (key,) = cells
    cells[key] |= {"upscale": "bicubic", "store": "synthetic-64x48-bicubic"}
    finish(tmp_path, cells, error_px=2.56)
    assert collect(tmp_path).rows["error_percent"].isna().all()
    write_store(tmp_path, cells[key] | {"size": "256x192"})
    rows = collect(tmp_path).rows
    assert rows["error_percent"].tolist() == pytest.approx([1.0, 1.0])


def test_metrics_json_holds_the_own_decoder(grid):
    values = json.loads((grid / "results" / "metrics.json").read_text())
    cells = make_cells(methods=("udp", "cal"), sizes=("128x96", "64x48"))
    assert list(values) == list(cells)
    for key, figures in values.items():
        own = metric_rows(key, cells[key]).query("own_decoder").iloc[0]
        assert list(figures) == ["AP", "AP50", "AP75", "AR", "PCK", "error_px"]
        assert figures["AP"] == pytest.approx(own["AP"], abs=1e-4)


def test_undefined_metric_is_left_out_of_the_json(tmp_path):
    finish(tmp_path, make_cells(methods=("cal",), sizes=("64x48",)), PCK=np.nan)
    (figures,) = stage.headline(collect(tmp_path)).values()
    assert "PCK" not in figures and "AP" in figures


def test_two_runs_write_the_same_bytes(grid, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(grid, again, ignore=shutil.ignore_patterns("plots"))
    stage.main(again)
    written = [p for p in (again / "results").rglob("*") if p.is_file()]
    assert len(written) > 15
    for path in written:
        assert path.read_bytes() == (grid / path.relative_to(again)).read_bytes(), path
    svg = (again / "results" / "plots" / "ap_vs_size.svg").read_text()
    assert "dc:date" not in svg


def test_ap_plot_has_one_line_per_method_with_its_ap(grid):
    results = collect(grid)
    (axis,) = plots.ap_vs_size(results).axes
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["64x48", "128x96"]
    lines = {line.get_label(): line for line in axis.lines}
    assert list(lines) == ["udp", "cal"]
    own = results.rows[results.rows["own_decoder"]].set_index(["method", "size"])["AP"]
    for method, line in lines.items():
        assert line.get_xdata().tolist() == [0, 1]
        expected = [own[method, "64x48"], own[method, "128x96"]]
        assert line.get_ydata() == pytest.approx(expected)


def test_band_of_the_ap_plot_is_one_deviation(tmp_path):
    cells = make_cells(methods=("udp",), sizes=("64x48", "128x96"), seeds=(0, 1))
    finish_with_ap(
        tmp_path, dict(zip(cells, [40.0, 42.0, 60.0, 66.0], strict=True)), cells
    )
    (axis,) = plots.ap_vs_size(collect(tmp_path)).axes
    (band,) = axis.collections
    y = band.get_paths()[0].vertices[:, 1]
    assert y.max() == pytest.approx(63 + 6 / np.sqrt(2))
    assert y.min() == pytest.approx(41 - 2 / np.sqrt(2))


def test_error_plot_shows_pixels_and_percent(grid):
    pixels, percent = plots.error_vs_size(collect(grid)).axes
    for left, right in zip(pixels.lines, percent.lines, strict=True):
        relative = 100 * left.get_ydata() / np.array([64, 128])
        assert right.get_ydata() == pytest.approx(relative)


def test_training_curves_show_every_epoch_of_every_cell(grid):
    results = collect(grid)
    (block,) = stage.blocks(results.curves)
    figure = plots.training_curves(results, block)
    assert len(figure.axes) == 8
    for axis in figure.axes:
        assert [len(line.get_xdata()) for line in axis.lines] == [12, 12]
    curves = results.curves.set_index("key")
    loss = curves.loc["synthetic-64x48-hrnet_micro-udp-s0", "loss"].tolist()
    assert figure.axes[0].lines[0].get_ydata().tolist() == loss
    assert figure.axes[0].get_yscale() == "log"


def test_negative_loss_is_not_drawn_logarithmically(grid, tmp_path):
    shutil.copytree(grid / "runs", tmp_path / "runs")
    shutil.copy(grid / "params.yaml", tmp_path)
    history = tmp_path / "runs" / "synthetic-64x48-hrnet_micro-udp-s0" / "history.csv"
    frame = pd.read_csv(history)
    frame["loss"] -= 1
    frame.loc[::2, "val_pck"] = np.nan
    frame.to_csv(history, index=False)
    results = collect(tmp_path)
    figure = plots.training_curves(results, stage.blocks(results.curves)[0])
    assert figure.axes[0].get_yscale() == "linear"
    assert figure.axes[6].get_ylabel() == "val. PCK (%)"
    assert len(figure.axes[6].lines[0].get_xdata()) == 6


def test_histories_without_ap_are_drawn_by_their_pck(grid, tmp_path):
    """As trainings of earlier revisions wrote them."""
    shutil.copytree(grid / "runs", tmp_path / "runs")
    shutil.copy(grid / "params.yaml", tmp_path)
    for path in tmp_path.glob("runs/*/history.csv"):
        pd.read_csv(path).drop(columns="val_ap").to_csv(path, index=False)
    results = collect(tmp_path)
    (block,) = stage.blocks(results.curves)
    assert results.curves["val_ap"].isna().all()
    assert len(plots.training_curves(results, block).axes) == 6
    for root, name, column in ((grid, "AP", "val_ap"), (tmp_path, "PCK", "val_pck")):
        results = collect(root)
        figure = convergence(results, block)
        assert figure.axes[0].get_ylabel() == f"val. {name} (%)"
        curve = results.curves.set_index("key")[column]
        curve = curve["synthetic-64x48-hrnet_micro-udp-s0"].tolist()
        assert figure.axes[0].lines[0].get_ydata().tolist() == curve
        assert set(reached(results.curves)["metric"]) == {name}


def test_all_of_a_learning_curve_is_seen(grid):
    """Sizes share the vertical axis, and the last ones have the highest AP."""
    results = collect(grid)
    (block,) = stage.blocks(results.curves)
    last = results.curves["size"] == layout(results, block)[1][-1]
    results.curves.loc[last, "val_ap"] += 60
    figure = convergence(results, block)
    for axis in figure.axes:
        low, high = axis.get_ylim()
        heights = np.concatenate([line.get_ydata() for line in axis.lines])
        assert low == 0
        assert heights.max() <= high


def test_decoder_plot_fills_the_own_decoder(grid):
    results = collect(grid)
    (block,) = stage.blocks(results.rows)
    figure = plots.decoders(results, block)
    axis = figure.axes[0]
    shown = [line for line in axis.lines if line.get_marker() not in ("", "None", "|")]
    rows = results.rows.query("size == '64x48'")
    assert sorted(float(line.get_xdata()[0]) for line in shown) == pytest.approx(
        sorted(rows["AP"])
    )
    filled = [x for x in shown if x.get_markerfacecolor() != "white"]
    assert sorted(float(line.get_xdata()[0]) for line in filled) == pytest.approx(
        sorted(rows.query("own_decoder")["AP"])
    )


def test_a_method_looks_the_same_whatever_is_finished(grid, tmp_path):
    shutil.copytree(grid / "results" / "cells", tmp_path / "results" / "cells")
    shutil.copy(grid / "params.yaml", tmp_path)
    for folder in (tmp_path / "results" / "cells").glob("*-cal-s0"):
        shutil.rmtree(folder)

    def colour(root: Path) -> str:
        (axis,) = plots.ap_vs_size(collect(root)).axes
        return {line.get_label(): line.get_color() for line in axis.lines}["udp"]

    assert colour(tmp_path) == colour(grid)


def test_many_methods_remain_distinguishable():
    styles = method_styles([f"method{n}" for n in range(28)])
    assert len({tuple(style.values()) for style in styles.values()}) == 28
    looks = {(style["color"], style["linestyle"]) for style in styles.values()}
    assert len(looks) == 28


def test_two_blocks_have_a_panel_and_files_each(tmp_path):
    cells = make_cells(methods=("udp", "cal"), sizes=("64x48",))
    cells |= make_cells(methods=("udp",), sizes=("64x48",), data="coco")
    write_grid(tmp_path, cells)
    stage.main(tmp_path)
    figure = plots.ap_vs_size(collect(tmp_path))
    assert [len(axis.lines) for axis in figure.axes] == [2, 1]
    stems = {p.stem for p in (tmp_path / "results" / "plots").glob("decoders*.png")}
    assert stems == {"decoders", "decoders-coco-none-hrnet_micro-quick-gt"}


def test_predictions_are_drawn_over_the_input(grid):
    results = collect(grid)
    block = stage.blocks(results.rows.drop(columns="boxes"))[0]
    figure = pictures.predictions(results, block)
    assert len(figure.axes) == 2 * 6 * 3
    store = CropStore(grid / "data" / "stores" / "synthetic-64x48" / "val")
    truth, udp = figure.axes[0], figure.axes[1]
    shown = truth.images[0].get_array()
    inputs = store.inputs(slice(None))
    (row,) = np.flatnonzero((inputs == shown).all(axis=(1, 2, 3)))
    (points,) = truth.lines
    labelled = store.visible[row] > 0
    assert points.get_xydata() == pytest.approx(store.input_keypoints[row][labelled])
    assert truth.get_xlim() == (-0.5, 47.5) and truth.get_ylim() == (63.5, -0.5)
    path = grid / "results" / "cells" / "synthetic-64x48-hrnet_micro-udp-s0"
    with np.load(path / "predictions.npz") as file:
        said = file["keypoints"][file["decoders"].tolist().index("udp")]
    drawn = np.full((len(store), 17, 2), np.nan)
    drawn[row, labelled] = udp.lines[0].get_xydata()
    back = store.to_image_pixels(drawn)[row, labelled]
    assert back == pytest.approx(said[row, labelled], abs=1e-3)


@pytest.mark.parametrize("draw", [pictures.predictions, peaks, worst])
def test_a_title_fits_a_narrow_figure(tmp_path, draw):
    """Where one method was trained at one size."""
    ((key, cell),) = (cells := make_cells(methods=("udp",), sizes=("64x48",))).items()
    write_grid(tmp_path, cells)
    write_maps(tmp_path, key, cell)
    results = collect(tmp_path)
    (block,) = stage.blocks(results.rows)
    figure = draw(results, block)
    figure.draw_without_rendering()
    (title,) = figure.texts
    assert "hrnet_micro" in title.get_text()
    extent, (size, *_) = title.get_window_extent(), figure.axes[0].texts[::-1]
    assert size.get_text() == "64x48"
    assert extent.x0 >= 0 and extent.x1 <= figure.bbox.width
    assert size.get_window_extent().y1 <= extent.y0
    assert extent.y1 <= figure.bbox.height


def test_persons_are_spread_over_the_ranks_of_their_oks(grid):
    store = CropStore(grid / "data" / "stores" / "synthetic-64x48" / "val")
    ids = store.annotation_id.tolist()
    oks = np.linspace(1, 0, len(ids))
    oks[3] = np.nan
    one = pictures.Prediction(store, {p: n for n, p in enumerate(ids)}, None, oks)
    chosen = pictures.choose_persons([one], 4)
    # 23 persons with an OKS, in ascending order from the last id; ranks 2, 8, 14, 20.
    assert chosen == [ids[-1 - 2], ids[-1 - 8], ids[-1 - 14], ids[2]]
    assert len(pictures.choose_persons([one], 99)) == 23
    assert pictures.choose_persons([], 4) == []


def test_decoder_that_predictions_lack_is_an_error(grid, tmp_path):
    shutil.copytree(grid, tmp_path, dirs_exist_ok=True)
    key = "synthetic-64x48-hrnet_micro-udp-s0"
    cell = make_cells(methods=("udp",), sizes=("64x48",))[key]
    write_predictions(tmp_path, key, cell | {"method": "cal"})
    results = collect(tmp_path)
    with pytest.raises(StageError, match=f"{key}.*evaluate"):
        pictures.predictions(results, stage.blocks(results.rows)[0])


def test_templates_of_dvc_plots_use_columns_that_exist(grid):
    for name in ("ap_vs_size", "curves"):
        template = REPOSITORY / "stages" / "compare" / "vega" / f"{name}.json"
        text = template.read_text()
        spec = json.loads(text)
        made = {step["as"] for step in spec["transform"]} | {"rev"}
        used = set(re.findall(r"datum\.(\w+)", text))
        used |= {entry["field"] for entry in spec["encoding"].values()}
        used = {field for field in used if not field.startswith("<DVC_METRIC")}
        columns = set(pd.read_csv(grid / "results" / f"{name}.csv"))
        assert used and used <= columns | made


def test_command_exits_with_one_line_on_an_error(tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "stages.compare"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert re.fullmatch(r"error: .*params\.yaml not found.*\n", run.stderr)


def test_comparing_needs_no_torch():
    code = (
        "import sys, stages.compare.__main__; "
        "sys.exit(bool({'torch', 'mmpose', 'mmengine'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0


@pytest.mark.parametrize("count", [1, 3, 40])
def test_a_legend_is_never_cut(count):
    """However many methods, and however long their labels."""
    labels = [
        f"cal (from=synthetic udp, weighting=gt, epochs={n})" for n in range(count)
    ]
    figure = Figure(figsize=(WIDTH, 3), layout="constrained")
    axis = figure.subplots()
    add_legend(figure, method_styles(labels), labels, "title")
    figure.canvas.draw()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.x1
    assert box.y0 >= 0 and box.y1 <= figure.bbox.y1
    assert axis.get_window_extent().height > 0.6 * 3 * figure.dpi
    assert axis.get_window_extent().y1 <= box.y0
