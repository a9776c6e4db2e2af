"""The measured speeds that are shown."""

import json
from pathlib import Path

import pytest

from benchmarks import run

RESULTS = sorted(Path("benchmarks/results").glob("*.json"))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_the_tables_are_those_of_the_figures(path):
    found = json.loads(path.read_text())
    assert path.with_suffix(".md").read_text() == run.render(path.stem, found)


def test_only_the_parts_asked_for_are_measured_anew(tmp_path, monkeypatch):
    """The others keep their figures and their date."""
    monkeypatch.setattr(run, "RESULTS", tmp_path)
    monkeypatch.setattr(run, "run", lambda script, arguments: {"milliseconds": {}})
    monkeypatch.setattr(run, "render", lambda device, found: "")
    path = tmp_path / f"{run.device_name()}.json"
    old = {"date": "then", "figures": {"photos_per_second": 1}}
    path.write_text(json.dumps({"downsample": old, "decode": old}))
    monkeypatch.setattr(run, "SYNTHETIC", tmp_path)  # decode needs no photos
    monkeypatch.setattr("sys.argv", ["run.py", "--only", "decode"])
    run.main()
    found = json.loads(path.read_text())
    assert found["downsample"] == old
    assert found["decode"]["figures"] == {"milliseconds": {}}
    assert found["decode"]["date"] != "then"
