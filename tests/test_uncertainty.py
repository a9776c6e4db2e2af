"""What readers see of the statistics: tables, files, AP against cost."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from stages.compare import __main__ as stage
from stages.compare.claims.claim import read_claims
from stages.compare.claims.verdict import judge
from stages.compare.documents import to_latex, to_markdown
from stages.compare.pareto import find_front, pareto
from stages.compare.rows import collect
from stages.compare.statistics.tables import Statistics, compute
from stages.compare.summary import blocks
from stages.compare.uncertainty import (
    claims_document,
    claims_table,
    probability,
    uncertainty_tables,
)
from tests.evaluated_cells import write_work

DVC = Path(__file__).parents[1] / "dvc.yaml"


@pytest.fixture(scope="module")
def work(tiny_work, tmp_path_factory) -> Path:
    return write_work(tiny_work, tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def computed(work) -> Statistics:
    return compute(collect(work))


def tables_of(work: Path, computed: Statistics) -> list:
    results = collect(work)
    return uncertainty_tables(results, computed, blocks(results.rows)[0])


def test_ap_has_its_interval(work, computed):
    table, _ = tables_of(work, computed)
    assert list(table.text) == ["method", "32x24"]
    rows = collect(work).rows.query("own_decoder")
    means = rows.groupby("label", sort=False)["AP"].mean()
    for label, text in table.text.to_numpy():
        value, low, high = map(float, re.findall(r"[\d.]+", text))
        assert value == pytest.approx(means[label], abs=0.06)
        assert low <= value <= high
    assert "what training again gives" in to_markdown(table)


def test_the_interval_of_a_mean_is_of_all_seeds(work, computed):
    """Narrower than the mean of the seeds' own intervals, as their errors differ."""
    frame = computed.intervals.query("metric == 'error_px' and label == 'udp'")
    own = frame[frame["decoder"] == "udp"].iloc[0]
    each = computed.statistics.query("metric == 'error_px' and decoder == 'udp'")
    each = each[each["label"] == "udp"]
    assert len(each) == 2
    assert own["high"] - own["low"] <= (each["high"] - each["low"]).mean() + 1e-9
    assert own["low"] < each["value"].mean() < own["high"]


def test_differences_are_listed_and_sure_ones_bold(work, computed):
    _, table = tables_of(work, computed)
    rows = computed.differences.query("metric == 'AP' and not same_checkpoint")
    assert table.text[["size", "a", "b"]].to_numpy().tolist() == [
        ["32x24", "udp", "cal"]
    ]
    assert table.bold["a - b"].tolist() == (rows["p_corrected"] < 0.05).tolist()
    assert table.text["seeds"].tolist() == ["2"]
    assert not any("one seed" in note for note in table.notes)


def test_without_predictions_there_is_nothing_to_say(work, computed):
    results = collect(work)
    empty = Statistics(
        **{
            name: frame.iloc[:0] if isinstance(frame, pd.DataFrame) else []
            for name, frame in vars(computed).items()
        }
    )
    assert uncertainty_tables(results, empty, blocks(results.rows)[0]) == []


def test_claims_are_a_table_with_the_commands_that_run_them(work, computed):
    claims = judge(read_claims(), collect(work), computed.samples)
    table = claims_table(claims)
    assert len(table.text) == len(claims) >= 8
    assert set(table.text["verdict"]) == {"undecided"} and not table.bold.any().any()
    text = claims_document(claims)
    assert text.count("python -m stages.sweep") == claims["command"].nunique()
    assert r"\begin{tabular}" in to_latex(table, "all settings")


def test_hostile_names_stay_inside_their_cells(work, computed):
    claims = judge(read_claims(), collect(work), computed.samples)
    claims["title"] = "<script>alert(1)</script> | 100% \\input{x} `a`"
    rows = [
        line for line in to_markdown(claims_table(claims)).splitlines() if "|" in line
    ]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {9}
    assert "<script" not in claims_document(claims)
    latex = to_latex(claims_table(claims), "")
    assert "\\input" not in latex and r"100\%" in latex


def test_p_is_never_shown_as_zero():
    shown = [probability(p) for p in (0.0, 0.0004, 0.0123, 1.0, np.nan)]
    assert shown == ["< 0.001", "< 0.001", "0.012", "1.000", "–"]


def test_every_file_is_written_and_declared(work, computed, tmp_path):
    """dvc.yaml names all that compare writes beside plots and codecs."""
    results = collect(work)
    claims = judge(read_claims(), results, computed.samples)
    stage.write_frames(results, tmp_path)
    stage.write_statistics(computed.files() | {"claims": claims}, tmp_path)
    stage.write_documents(results, computed, claims, tmp_path)
    outs = yaml.safe_load(DVC.read_text())["stages"]["compare"]
    declared = {Path(next(iter(out))).name for out in outs["outs"] + outs["metrics"]}
    assert {path.name for path in tmp_path.iterdir()} <= declared
    for name, frame in computed.files().items():
        read = pd.read_csv(tmp_path / f"{name}.csv")
        assert len(read) == len(frame) > 0 and list(read) == list(frame)
    assert "## Claims" in (tmp_path / "comparison.md").read_text()


def test_what_is_beaten_at_lower_cost_is_not_in_front():
    cost = np.array([1.0, 2, 2, 3, 4])
    ap = np.array([10.0, 9, 12, 12, 20])
    assert find_front(cost, ap).tolist() == [0, 2, 4]


def test_ap_against_cost_has_a_dot_per_method_and_size(work):
    results = collect(work)
    figure = pareto(results, blocks(results.rows)[0])
    means = results.rows.query("own_decoder").groupby("label", sort=False)["AP"].mean()
    for axis in figure.axes:
        dots = [line for line in axis.lines if line.get_marker() not in ("", "None")]
        assert [line.get_ydata()[0] for line in dots] == pytest.approx(means.tolist())
