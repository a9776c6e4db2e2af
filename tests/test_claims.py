"""Claims: files of conf/claim, the cells that they speak of, and their verdicts."""

import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from stages.compare.claims.cells import command, data_choice, group_cells
from stages.compare.claims.claim import CLAIMS, Claim, Contrast, read_claim, read_claims
from stages.compare.claims.verdict import COLUMNS, judge
from stages.compare.rows import collect
from stages.compare.statistics.measure import Sample
from stages.files import StageError
from stages.plan import CONF, plan
from tests.fake_cells import (
    make_cells,
    metric_rows,
    write_history,
    write_metrics,
    write_params,
)

UDP = {"method": "udp", "size": "64x48"}
CAL = {"method": "cal", "size": "64x48"}
IMAGES = 400


def claim(*contrasts: tuple, metric: str = "AP", margin: float = 0) -> Claim:
    pairs = tuple(Contrast((more,), (less,)) for more, less in contrasts)
    return Claim("a_claim", "A claim", "It is so.", "a paper", metric, margin, pairs)


def sample(key: str, value: float, spread: float = 1.0, **changes) -> Sample:
    """A measured cell whose AP is ``value``, with drawings around it."""
    noise = np.random.default_rng(list(key.encode())).normal(0, spread, 300)
    values = {"AP": np.append(0, noise) + value}
    known = {"decoder": key.split("-")[3], "boxes": "gt", "own": True}
    return Sample(
        **{"key": key, "persons": IMAGES, "images": IMAGES, "values": values}
        | known
        | changes
    )


@pytest.fixture
def results(tmp_path):
    """Two methods, three seeds, at one size, all finished."""
    cells = make_cells(methods=("udp", "cal"), sizes=("64x48",), seeds=(0, 1, 2))
    write_params(tmp_path, cells)
    for key, cell in cells.items():
        write_metrics(tmp_path, key, metric_rows(key, cell))
    return collect(tmp_path)


def measured(results, udp: list, cal: list, spread: float = 1.0) -> list[Sample]:
    """All cells of ``results``; the AP of each method by seed."""
    ap = {"udp": udp, "cal": cal}
    cells = results.cells.items()
    return [sample(key, ap[c["method"]][c["seed"]], spread) for key, c in cells]


def verdict(results, samples, *contrasts, **how) -> pd.Series:
    (_, row), *others = judge([claim(*contrasts, **how)], results, samples).iterrows()
    assert not others
    return row


@pytest.mark.parametrize(
    ("cal", "expected"),
    [
        ([50, 51, 52], "supported"),
        ([30, 31, 32], "contradicted"),
        ([40.5, 41, 42.2], "undecided"),
        ([60, 60, 40], "undecided"),  # a large mean, but not in every repetition
    ],
)
def test_a_verdict_follows_the_figures(results, cal, expected):
    udp = [40, 41, 42]
    row = verdict(results, measured(results, udp, cal), (CAL, UDP))
    assert row["verdict"] == expected
    assert row["effect"] == pytest.approx(np.mean(cal) - np.mean(udp))
    assert row["low"] < row["effect"] < row["high"]
    assert row["seeds"] == 3 and len(row["cells"].split()) == 6
    assert row["missing"] == row["command"] == ""


def test_one_seed_decides_nothing_about_trainings(results):
    samples = [s for s in measured(results, [40] * 3, [60] * 3) if "-s0" in s.key]
    row = verdict(results, samples, (CAL, UDP))
    assert (row["verdict"], row["seeds"]) == ("undecided", 1)
    assert row["effect"] == pytest.approx(20) and row["p"] < 1e-6
    assert row["missing"] == "cal at 64x48: 2 seeds; udp at 64x48: 2 seeds"
    assert row["command"].endswith("method=cal,udp size=64x48 seed=0,1,2")


def test_one_seed_decides_about_decoders_of_one_checkpoint(results):
    key = "synthetic-64x48-hrnet_micro-udp-s0"
    other = sample(key, 30, decoder="argmax", own=False)
    row = verdict(results, [sample(key, 40), other], (UDP, UDP | {"decoder": "argmax"}))
    assert (row["verdict"], row["seeds"], row["cells"]) == ("supported", 1, key)


def test_as_good_as_has_a_margin(results):
    samples = measured(results, [40, 41, 42], [39.9, 41.1, 41.9], spread=0.05)
    row = verdict(results, samples, (CAL, UDP), margin=0.5)
    assert row["verdict"] == "supported" and row["margin"] == 0.5
    assert row["effect"] == pytest.approx(-0.1 / 3) and row["low"] > -0.5
    for margin in (0, 0.05):
        row = verdict(results, samples, (CAL, UDP), margin=margin)
        assert row["verdict"] == "undecided"
    worse = measured(results, [40, 41, 42], [39, 40, 41], spread=0.05)
    row = verdict(results, worse, (CAL, UDP), margin=0.5)
    assert row["verdict"] == "contradicted"


def test_all_contrasts_must_hold_and_the_weakest_is_shown(results):
    far = {"method": "cal", "size": "256x192"}
    samples = measured(results, [40] * 3, [60] * 3)
    row = verdict(results, samples, (CAL, UDP), (far, UDP))
    assert row["verdict"] == "undecided" and row["effect"] == pytest.approx(20)
    assert row["missing"] == "cal at 256x192"
    assert "size=64x48,256x192" in row["command"]
    row = verdict(results, samples, (UDP, CAL), (far, UDP))
    assert row["verdict"] == "contradicted"


def test_p_is_corrected_over_the_table(results):
    samples = measured(results, [40, 41, 42], [42, 43, 44])
    one = judge([claim((CAL, UDP))], results, samples)
    many = judge([claim((CAL, UDP))] * 4, results, samples)
    assert 0 < one["p"][0] < 0.2
    assert many["p"].tolist() == pytest.approx([min(1, 4 * one["p"][0])] * 4)


def test_a_claim_without_any_cell_names_all_of_them(results):
    rows = judge([claim(({"method": "rle", "size": "64x48"}, UDP))], results, [])
    assert list(rows.columns) == COLUMNS and len(rows) == 1
    row = rows.iloc[0]
    assert (row["verdict"], row["seeds"]) == ("undecided", 0)
    assert row["missing"] == "rle at 64x48" and np.isnan(row["effect"])


def test_epochs_to_reach_are_read_from_the_curves(results):
    """fake histories: cal's validation AP rises faster than udp's."""
    for key, cell in results.cells.items():
        write_history(results.root, key, cell)
    fresh = collect(results.root)
    row = verdict(fresh, [], (UDP, CAL), metric="epochs")
    each = []
    for seed in range(3):
        curves = {
            method: pd.read_csv(
                fresh.root
                / f"runs/synthetic-64x48-hrnet_micro-{method}-s{seed}/history.csv"
            )["val_ap"]
            for method in ("udp", "cal")
        }
        goal = 0.9 * curves["udp"].iloc[-1]
        reached = {m: (c >= goal).argmax() + 1 for m, c in curves.items()}
        each.append(reached["udp"] - reached["cal"])
    assert row["effect"] == pytest.approx(np.mean(each)) and row["effect"] > 0
    assert row["seeds"] == 3


def test_only_what_differs_in_the_claims_choices_is_compared():
    """Among cells of other lengths and weightings, by their settings."""
    cells = plan(["grid=gmm_components"])["cells"]
    cells |= plan(["grid=gmm_components", "schedule.epochs=5"])["cells"]
    other = ["method=cal", "method.loss.weighting=gt"]
    cells |= plan(["grid=single", *other])["cells"]

    class Planned:
        missing: list = []

    Planned.cells = cells
    one = read_claim(CLAIMS / "one_gaussian.yaml")
    groups = {str(g.setting): g for g in group_cells(one, Planned)}
    plain = groups["synthetic, hrnet_micro, quick schedule"]
    shorter = groups["synthetic, hrnet_micro, quick schedule, schedule_epochs_5"]
    for group in (plain, shorter):
        for contrast in one.contrasts:
            for selector in contrast.selectors:
                found = group.find(selector)
                assert list(found) == [0]
                components = int(selector["method.loss.components"])
                for key in found.values():
                    loss = cells[key]["train"]["method"]["loss"]
                    assert loss["components"] == components
                    assert loss["weighting"] == "gmm"
    assert "schedule.epochs=5" in command(one, shorter)
    assert "schedule" not in command(one, plain)


@pytest.mark.parametrize("path", sorted(CLAIMS.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_claim_names_cells_that_can_be_run(path: Path):
    """Its command is one that the planner takes, and it leaves nothing missing."""
    one = read_claim(path)

    class Nothing:
        cells = plan(["grid=single"])["cells"]
        missing = list(cells)
        curves = pd.DataFrame(columns=["key", "epoch", "val_ap"])

    row = judge([one], Nothing, []).iloc[0]
    words = shlex.split(row["command"])
    assert words[-1] == "seed=0,1,2"
    assert words[:4] == ["python", "-m", "stages.sweep", "-m"]
    if any(word.startswith("upscale=") for word in words):
        pytest.importorskip("stages.upscale")

    class Planned(Nothing):
        cells = plan([*words[4:-1], "seed=0"])["cells"]
        missing = list(cells)

    (group,) = group_cells(one, Planned)
    for contrast in one.contrasts:
        for selector in contrast.selectors:
            assert len(group.find(selector)) == 1, selector


@pytest.mark.parametrize("name", sorted(p.stem for p in (CONF / "data").iterdir()))
def test_every_dataset_is_chosen_in_words_that_the_planner_takes(name):
    words = [f"{key}={value}" for key, value in data_choice(name).items()]
    assert plan(["grid=single", *words])["data"]


def test_the_claims_of_the_literature_are_there():
    claims = read_claims()
    assert len(claims) >= 8 and all(one.source for one in claims)
    assert CLAIMS == CONF / "claim"


GOOD = {"title": "t", "statement": "s", "source": "p", "metric": "AP"}
GOOD |= {"contrasts": [{"more": [CAL], "less": [UDP]}]}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"colour": 1}, "expected the entries contrasts, margin"),
        ({"title": None}, "expected text for title"),
        ({"metric": "mAP"}, "metric 'mAP': expected one of AP"),
        ({"margin": "a"}, "margin 'a': expected a number"),
        ({"contrasts": []}, "expected a list"),
        ({"contrasts": [{"more": [CAL]}]}, "expected more and less"),
        ({"contrasts": [{"more": CAL, "less": UDP}]}, "expected lists"),
        ({"contrasts": [{"more": [CAL, CAL], "less": [UDP]}]}, "as many of more"),
        ({"contrasts": [{"more": ["cal"], "less": [UDP]}]}, "a method and a size"),
        (
            {"contrasts": [{"more": [CAL | {"init": "a"}], "less": [UDP]}]},
            "the same names in all choices",
        ),
    ],
)
def test_a_file_that_is_no_claim_is_named(tmp_path, change, says):
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(GOOD))
    assert read_claim(path).contrasts == claim((CAL, UDP)).contrasts
    path.write_text(yaml.safe_dump(GOOD | change))
    with pytest.raises(StageError, match=f"wrong.yaml: .*{says}"):
        read_claim(path)


def test_broken_yaml_is_named(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("title: [")
    with pytest.raises(StageError, match="broken.yaml is not valid YAML"):
        read_claim(path)
