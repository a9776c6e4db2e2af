"""The codec report: oracle errors, coarse errors, their tables and pictures."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import multivariate_normal

from plugins.datasets.crop_store import CropStore
from plugins.datasets.keypoint_sets import COCO17
from plugins.hooks.states import save_checkpoint
from plugins.inference import store_outputs
from plugins.model import build_model
from stages.compare.codec_report import coarse, histograms, panels, report, views
from stages.compare.codec_report.__main__ import main
from stages.compare.codec_report.oracle import (
    Oracle,
    grid_of,
    measure_ours,
    oracle_table,
    sample_joints,
)
from stages.compare.codec_report.stock import measure_stock
from stages.compare.rows import collect
from stages.compare.style import look
from stages.compare.summary import blocks
from stages.evaluate.__main__ import evaluate
from stages.evaluate.keypoints import coarse_errors
from stages.files import StageError, hash_of
from tests.fake_cells import make_cells, shrink_codec_report, write_grid, write_params


def norms(oracle: Oracle) -> np.ndarray:
    return np.linalg.norm(oracle.errors, axis=-1)


def make_oracle(joints, errors, size="64x48", **changes) -> Oracle:
    values = {"codec": "udp", "implementation": "ours", "size": size, "settings": ""}
    values |= {"cell": np.array([47 / 11, 63 / 15]), "blank": 0.0} | changes
    return Oracle(joints=np.array(joints), errors=np.array(errors), **values)


@pytest.mark.parametrize("size", report.SIZES)
def test_joints_are_the_same_number_in_every_square_of_the_input(size):
    joints = sample_joints(size, 2 * np.prod(grid_of(size)))
    height, width = (int(side) for side in size.split("x"))
    across, down = grid_of(size)
    cells = (joints / (width - 1, height - 1) * (across, down)).astype(int)
    squares, counts = np.unique(cells, axis=0, return_counts=True)
    assert len(squares) == across * down and set(counts) == {2}
    np.testing.assert_array_equal(joints, sample_joints(size, len(joints)))
    assert len(np.unique(joints, axis=0)) == len(joints)


@pytest.mark.parametrize("size", ["32x24", "64x48"])
@pytest.mark.parametrize("name", ["quadfit", "udp_offset", "cal", "simcc"])
def test_exact_codecs_have_no_oracle_error(name, size):
    oracle = measure_ours(name, size, 700)
    assert norms(oracle).max() < 1e-3 and oracle.blank == 0


@pytest.mark.parametrize(
    ("name", "mean"), [("argmax", 1.616), ("msra", 1.566), ("dark", 0.035)]
)
def test_other_codecs_have_theirs(name, mean):
    assert norms(measure_ours(name, "64x48", 3000)).mean() == pytest.approx(
        mean, rel=0.02
    )


@pytest.mark.parametrize(
    ("name", "mean", "p99"),
    [
        ("msra", 1.57, 3.0),
        ("dark", 0.79, 3.0),
        ("udp", 0.55, 4.2),
        ("simcc", 0.19, 0.33),
    ],
)
def test_mmpose_has_its_known_errors_at_64x48(name, mean, p99):
    distance = norms(measure_stock(name, "64x48", 2500))
    assert distance.mean() == pytest.approx(mean, abs=0.04)
    assert np.quantile(distance, 0.99) == pytest.approx(p99, abs=0.12)


@pytest.mark.parametrize(("size", "share"), [("64x48", 0.81), ("128x96", 0.35)])
def test_mmpose_leaves_the_disc_whose_offsets_are_zero_outside(size, share):
    table = oracle_table([measure_stock("udp_offset", size, 2500)])
    assert table["off_half_cell"][0] == pytest.approx(share, abs=0.02)
    if size == "64x48":
        assert table["mean_px"][0] == pytest.approx(9.2, abs=0.3)


def test_mmpose_draws_no_disc_where_its_radius_is_below_half_a_cell():
    """At 32x24 0.0547 x 8 cells: a disc of that area misses the rest of a cell."""
    oracle = measure_stock("udp_offset", "32x24", 2500)
    assert oracle.blank == pytest.approx(1 - np.pi * 0.4375**2, abs=0.02)
    assert measure_stock("udp_offset", "64x48", 200).blank == 0


def test_mmpose_has_the_settings_of_the_size():
    found = [measure_stock("dark", size, 1).settings for size in ("128x96", "256x192")]
    assert found == ["sigma=1 blur_kernel_size=3", "sigma=2 blur_kernel_size=11"]
    assert measure_ours("dark", "256x192", 1).settings == "sigma=2 kernel=11"
    assert measure_ours("udp_offset", "64x48", 1).settings == "radius=1.5"


def test_the_table_measures_distances_in_pixels_and_cells():
    errors = [(0, 0), (3, -4), (0, 1.9), (0, -2.1), (2.1, 0)]
    oracle = make_oracle(np.zeros((5, 2)), errors, cell=np.array([5.0, 4.0]), blank=0.2)
    row = oracle_table([oracle]).iloc[0]
    assert row["joints"] == 5 and row["blank"] == 0.2
    assert row["mean_px"] == pytest.approx(11.1 / 5)
    assert row["max_px"] == 5 and 4.8 < row["p99_px"] < 5
    # 2.1 px are more than half of 4 px along y, but not of 5 px along x.
    assert row["off_half_cell"] == pytest.approx(2 / 5)


def test_panels_show_x_to_the_right_and_y_down():
    # Cell (2, 3) plus (0.3, -0.4), and its right neighbour plus (-0.49, 0.49).
    cells = np.array([(2.3, 2.6), (2.51, 3.49)])
    oracle = make_oracle(cells * (47 / 11, 63 / 15), [(3.0, 4.0), (0.0, 1.0)])
    mean = views.mean_errors(oracle, views.PHASE)
    assert mean.shape == (8, 8) and np.isfinite(mean).sum() == 2
    assert (mean[0, 6], mean[7, 0]) == (5.0, 1.0)
    mean = views.mean_errors(oracle, views.POSITION)
    assert mean.shape == (15, 11) and np.isfinite(mean).sum() == 2
    assert (mean[2, 2], mean[3, 2]) == (5.0, 1.0)


def test_bins_hold_the_mean_of_their_joints():
    oracle = make_oracle([(1.0, 1.0), (1.1, 1.0)], [(1.0, 0.0), (0.0, 2.0)])
    assert views.mean_errors(oracle, views.POSITION)[0, 0] == 1.5


@pytest.fixture(scope="module")
def oracles() -> list[Oracle]:
    found = [measure_ours(n, s, 50) for n in ("udp", "cal") for s in report.SIZES[:2]]
    stock = [measure_stock("udp", size, 50) for size in report.SIZES[:2]]
    return [*found, *stock]


@pytest.mark.parametrize("view", [views.PHASE, views.POSITION])
def test_every_panel_is_there_on_one_scale(oracles, view):
    figure = panels.draw_panels(oracles, view)
    images = [image for axis in figure.axes for image in axis.images]
    assert len(images) == 6 and {id(image.norm) for image in images} == {
        id(panels.SCALE)
    }
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert titles == ["32x24", "64x48"] * 2
    texts = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert texts.count("not in\nMMPose") == 2
    means = [f"{norms(o).mean():.2f}" for o in oracles if o.implementation == "mmpose"]
    assert set(means) <= set(texts) and texts.count("< 0.01") == 2
    for image in images:
        left, right, bottom, top = image.get_extent()
        assert left < right and bottom > top and image.origin == "upper"


def test_a_blank_target_is_told():
    oracle = make_oracle([(1.0, 1.0)], [(5.0, 0.0)], blank=0.4)
    figure = panels.draw_panels([oracle], views.PHASE)
    assert figure.axes[0].texts[0].get_text() == "5.00\n40% blank"


def assert_nothing_is_cut_off(figure) -> None:
    drawn = figure.get_tightbbox()
    assert drawn.x0 >= 0 and drawn.x1 <= figure.get_figwidth()
    assert drawn.y0 >= 0 and drawn.y1 <= figure.get_figheight()


@pytest.mark.parametrize("view", [views.PHASE, views.POSITION])
def test_nothing_of_the_panels_is_cut_off(view):
    longest = ["udp_offset", "regression"]
    found = [
        make_oracle([(1.0, 1.0)], [(20.0, 9.0)], size, codec=codec, blank=0.4)
        for codec in longest
        for size in report.SIZES
    ]
    with look():
        assert_nothing_is_cut_off(panels.draw_panels(found, view))


def test_a_mixture_of_one_is_the_gaussian_of_the_errors():
    errors = np.random.default_rng(0).integers(-3, 5, (500, 2)).astype(np.float32)
    fit = coarse.fit_mixture(errors, 1)
    covariance = np.cov(errors.T, bias=True)
    np.testing.assert_allclose(fit.covariances[0], covariance, rtol=1e-4)
    np.testing.assert_allclose(fit.means[0], errors.mean(0), atol=1e-5)
    cells, low = np.arange(-4, 5), np.array([0, 1])
    expected = sum(
        multivariate_normal(fit.means[0, a], covariance[a, a]).pdf(cells) for a in low
    )
    np.testing.assert_allclose(fit.per_cell(cells), expected / 2, rtol=1e-3)


def test_a_mixture_of_three_is_found_again():
    rng = np.random.default_rng(1)
    widths, counts = (3.0, 12.0, 50.0), (60_000, 30_000, 10_000)
    errors = np.concatenate(
        [rng.normal(0, w, (n, 2)) for w, n in zip(widths, counts, strict=True)]
    )
    fit = coarse.fit_mixture(np.round(errors), 3)
    # Rounding to cells adds 1/12 to a variance.
    expected = np.sqrt(np.square(widths) + 1 / 12)
    np.testing.assert_allclose(fit.shares, (0.6, 0.3, 0.1), atol=0.004)
    # Three standard errors of a width from 10,000 errors.
    np.testing.assert_allclose(fit.widths, expected, rtol=0.015)


@pytest.fixture
def cells(tmp_path):
    """Two methods, two sizes, two seeds, all finished."""
    made = make_cells(("udp", "cal"), ("64x48", "32x24"), seeds=(0, 1))
    write_grid(tmp_path, made)
    return made


def predictions_of(root, key):
    return root / "results" / "cells" / key / "predictions.npz"


def write_errors(root, key, errors) -> None:
    np.savez(predictions_of(root, key), coarse_errors=np.array(errors, np.float32))


def test_the_table_leaves_unlabelled_keypoints_out(tmp_path, cells):
    key = next(iter(cells))
    nan = float("nan")
    write_errors(tmp_path, key, [[(0, 0), (1, -1)], [(nan, nan), (0, 3)]])
    table = coarse.coarse_table(collect(tmp_path)).set_index("key")
    assert list(table.index) == list(cells)
    row = table.loc[key]
    assert (row["method"], row["size"], row["keypoints"]) == ("udp", "64x48", 3)
    assert row["within_1_cell"] == pytest.approx(2 / 3, abs=1e-4)
    assert row["mean_x"] == pytest.approx(1 / 3, abs=1e-4)
    assert row["std_x"] == pytest.approx(np.std([0, 1, 0]), abs=1e-4)
    assert row["std_y"] == pytest.approx(np.std([0, -1, 3]), abs=1e-4)
    shares = table[["share_1", "share_2", "share_3"]].sum(axis=1)
    np.testing.assert_allclose(shares, 1, atol=2e-4)
    widths = table[["width_1", "width_2", "width_3"]].to_numpy()
    assert (np.diff(widths) >= 0).all()


def test_cells_without_coarse_errors_are_left_out(tmp_path, cells):
    older, gone, unfinished, *others = cells
    np.savez(predictions_of(tmp_path, older), keypoints=np.zeros(3))
    predictions_of(tmp_path, gone).unlink()
    (predictions_of(tmp_path, unfinished).parent / "metrics.csv").unlink()
    results = collect(tmp_path)
    assert list(coarse.read_coarse_errors(results)) == others
    assert list(coarse.coarse_table(results)["key"]) == others


def test_a_broken_file_is_an_error_with_a_remedy(tmp_path, cells):
    key = next(iter(cells))
    predictions_of(tmp_path, key).write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(StageError, match=f"{key}.*python -m stages.evaluate {key}"):
        coarse.read_coarse_errors(collect(tmp_path))


def figure_of(root):
    results = collect(root)
    (block,) = blocks(results.rows.drop(columns="boxes"))
    return histograms.coarse_error(results, block)


def test_bars_are_the_shares_over_both_axes_and_all_seeds(tmp_path, cells):
    first, second = [key for key in cells if "64x48" in key and "udp" in key]
    write_errors(tmp_path, first, [(0, 0), (1, -2)])
    write_errors(tmp_path, second, [(0, 0), (0, 9)])
    axes = figure_of(tmp_path).axes
    assert [axis.get_title() for axis in axes[:2]] == ["32x24", "64x48"]
    axis = axes[1]
    heights = {
        bar.get_x() + bar.get_width() / 2: bar.get_height() for bar in axis.patches
    }
    shown = {round(x): height for x, height in heights.items() if height}
    assert shown == pytest.approx({0: 5 / 8, 1: 1 / 8, -2: 1 / 8})
    assert "beyond 8: 12.50%" in axis.texts[0].get_text()
    errors = np.array([(0, 0), (1, -2), (0, 0), (0, 9)], np.float32)
    for line, components in zip(axis.lines, (1, 3), strict=True):
        expected = coarse.fit_mixture(errors, components).per_cell(histograms.CELLS)
        np.testing.assert_allclose(line.get_ydata(), expected, rtol=1e-5)


def test_a_panel_without_errors_says_so_and_a_method_without_any_has_no_row(
    tmp_path, cells
):
    for key in cells:
        if "cal" in key or "32x24" in key:
            np.savez(predictions_of(tmp_path, key), keypoints=np.zeros(3))
    figure = figure_of(tmp_path)
    assert [axis.get_title() for axis in figure.axes] == ["64x48"]
    write_grid(tmp_path, cells)
    for key in cells:
        if "cal" in key and "32x24" in key:
            np.savez(predictions_of(tmp_path, key), keypoints=np.zeros(3))
    said = [axis.texts[0].get_text() for axis in figure_of(tmp_path).axes]
    assert [text.startswith("not evaluated") for text in said] == [0, 0, 1, 0]


def test_nothing_of_the_histograms_is_cut_off(tmp_path):
    long = {"loss": {"weighting": "gmm", "components": 3}}
    cells = make_cells(("udp", "cal"), ("64x48", "32x24"))
    for key, cell in list(cells.items()):
        cells[f"{key}-gmm"] = cell | {"train": cell["train"] | long}
    write_grid(tmp_path, cells)
    with look():
        figure = figure_of(tmp_path)
        figure.draw_without_rendering()
        assert_nothing_is_cut_off(figure)


def test_the_report_needs_no_finished_cell(tmp_path, monkeypatch):
    shrink_codec_report(monkeypatch)
    write_params(tmp_path, make_cells(("udp",), ("64x48",)))
    folder = tmp_path / "results" / "codecs"
    folder.mkdir(parents=True)
    (folder / "stale.png").touch()
    main(tmp_path)
    pictures = ("oracle_phase", "oracle_position", "coarse_error")
    expected = {f"{name}.{kind}" for name in pictures for kind in ("png", "svg")}
    expected |= {"oracle.csv", "coarse_error.csv"}
    assert {path.name for path in folder.iterdir()} == expected
    oracle = pd.read_csv(folder / "oracle.csv")
    assert len(oracle) == 6 and set(oracle["implementation"]) == {"ours", "mmpose"}
    assert pd.read_csv(folder / "coarse_error.csv").empty


@pytest.fixture(scope="module")
def store(tiny_work) -> CropStore:
    return CropStore(tiny_work / "data/stores/tiny-32x24/val")


def test_coarse_errors_count_cells_from_the_nearest_one(store, compose_cell):
    cell = compose_cell("size=32x24", "schedule=smoke", "method=dark")
    codec = build_model(cell["train"], COCO17, store.geometry).head.codec
    nearest = np.stack(
        np.broadcast_arrays(
            *(
                np.abs(
                    store.input_keypoints[..., axis, None] * (cells - 1) / (side - 1)
                    - np.arange(cells)
                ).argmin(-1)
                for axis, (cells, side) in enumerate(((6, 24), (8, 32)))
            )
        ),
        -1,
    )
    errors = coarse_errors(store, nearest + np.array([2, -1]), codec)
    labelled = store.visible > 0
    assert labelled.any() and not labelled.all()
    assert (errors[labelled] == (2, -1)).all() and np.isnan(errors[~labelled]).all()


def evaluate_method(method: str, store, compose_cell, folder):
    """Evaluate random weights of a method; gives the model and its predictions."""
    cell = compose_cell("size=32x24", "schedule=smoke", f"method={method}")
    cell = cell | {"data": "tiny", "store": "tiny-32x24"}
    torch.manual_seed(0)
    model = build_model(cell["train"], COCO17, store.geometry)
    hashes = {"config_hash": hash_of(cell["train"]), "data_hash": store.data_hash}
    checkpoint = hashes | {"key": "cell", "state_dict": model.state_dict()}
    save_checkpoint(checkpoint, folder / "checkpoint.pth")
    evaluate("cell", cell, folder / "checkpoint.pth", folder / "results")
    with np.load(folder / "results" / "predictions.npz") as file:
        return model, cell["evaluate"], dict(file)


def test_evaluate_keeps_the_coarse_errors_of_flip_averaged_maps(
    store, compose_cell, tiny_work, tmp_path, monkeypatch
):
    monkeypatch.chdir(tiny_work)
    model, settings, found = evaluate_method("cal", store, compose_cell, tmp_path)
    assert settings["flip_test"]
    batches = list(store_outputs(model, store, 4, True))
    maps = np.concatenate([outputs["heatmaps"].numpy() for _, outputs in batches])
    index = maps.reshape(*maps.shape[:2], -1).argmax(-1)
    peaks = np.stack((index % 6, index // 6), -1)
    expected = coarse_errors(store, peaks, model.head.codec)
    np.testing.assert_array_equal(found["coarse_errors"], expected)


def test_evaluate_has_no_coarse_errors_without_heatmaps(
    store, compose_cell, tiny_work, tmp_path, monkeypatch
):
    monkeypatch.chdir(tiny_work)
    _, _, found = evaluate_method("simcc", store, compose_cell, tmp_path)
    assert "keypoints" in found and "coarse_errors" not in found
