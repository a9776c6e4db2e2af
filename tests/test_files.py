"""Files: whole or not at all; parameters; hashes; one-line errors."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from stages.files import (
    StageError,
    hash_of,
    hash_of_file,
    load_params,
    new_file,
    new_folder,
    write_json,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_only_once_it_is_complete(tmp_path):
    path = tmp_path / "deep" / "result.txt"
    with new_file(path) as handle:
        handle.write("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert names(path.parent) == ["result.txt"]


def test_a_failed_file_leaves_the_old_one(tmp_path):
    path = tmp_path / "result.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        with new_file(path) as handle:
            handle.write("half")
            raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert names(tmp_path) == ["result.txt"]


def test_a_file_has_the_usual_rights(tmp_path):
    before = os.umask(0o027)
    try:
        with new_file(tmp_path / "result.bin", "wb") as handle:
            handle.write(b"\0")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "result.bin").stat().st_mode) == 0o640


def test_a_folder_appears_only_once_it_is_complete(tmp_path):
    path = tmp_path / "deep" / "result"
    with new_folder(path) as aside:
        (aside / "new").write_text("x")
        assert not path.exists()
    assert names(path) == ["new"]
    with new_folder(path) as aside:
        (aside / "newer").write_text("x")
        assert names(path) == ["new"]
    assert names(path) == ["newer"]
    assert names(path.parent) == ["result"]


def test_a_failed_folder_leaves_the_old_one_and_nothing_aside(tmp_path):
    path = tmp_path / "result"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(RuntimeError), new_folder(path) as aside:
        (aside / "half").touch()
        raise RuntimeError
    assert names(tmp_path) == ["result"] and names(path) == ["old"]


def test_what_a_killed_run_left_is_removed(tmp_path):
    killed = "import os\nfrom stages.files import new_folder\n"
    killed += f"with new_folder({str(tmp_path / 'result')!r}) as aside:\n"
    killed += "    (aside / 'half').touch(); os.kill(os.getpid(), 9)\n"
    subprocess.run([sys.executable, "-c", killed], cwd=Path(__file__).parent.parent)
    assert len(names(tmp_path)) == 1 and not (tmp_path / "result").exists()
    with new_folder(tmp_path / "result") as aside:
        assert names(aside) == []
    assert names(tmp_path) == ["result"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": object()}])
def test_json_is_whole_and_strict(tmp_path, value):
    path = tmp_path / "a.json"
    write_json(path, {"b": [1.5, "é"]})
    before = path.read_text()
    assert before.endswith("}\n")
    with pytest.raises((ValueError, TypeError)):
        write_json(path, {"a": value})
    assert path.read_text() == before
    assert names(tmp_path) == ["a.json"]


def test_hashes_depend_on_values_alone(tmp_path):
    assert hash_of({"a": 1, "b": {"c": 2, "d": 3}}) == hash_of(
        {"b": {"d": 3, "c": 2}, "a": 1}
    )
    values = [{"a": 1}, {"a": 2}, {"a": "1"}, {"a": [1]}, {"b": 1}, {"a": 1.5}, {}]
    assert len({hash_of(value) for value in values}) == len(values)
    # Pinned: a change would separate all results from their checkpoints.
    assert hash_of({"a": [1, None, 0.5], "b": "x"}) == "00bdd1f84d60"
    (tmp_path / "f").write_bytes(b"abc")
    assert hash_of_file(tmp_path / "f").startswith("ba7816bf8f01cfea")


def test_parameters_of_one_item(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("cells: {one: {seed: 0}, two: {seed: 1}}\nstores:\n")
    assert load_params("cells", "two", path) == {"seed": 1}


@pytest.mark.parametrize(
    ("text", "key", "says"),
    [
        ("cells: {one: {}}", "two", "no 'two' under 'cells'; it has: one"),
        ("stores: {}", "two", "it has: none"),
        ("", "two", "it has: none"),
        ("cells: [", "two", "not valid YAML"),
        (None, "two", "python -m stages.plan"),
    ],
)
def test_errors_of_parameters_name_the_remedy(tmp_path, text, key, says):
    path = tmp_path / "params.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(StageError, match=says) as caught:
        load_params("cells", key, path)
    assert str(path) in str(caught.value)


def test_a_stage_error_is_one_line_and_status_1():
    code = "from stages.files import StageError, run_stage\n"
    code += "def main(): raise StageError('photo.jpg: broken')\nrun_stage(main)\n"
    command = [sys.executable, "-c", code]
    top = Path(__file__).parent.parent
    done = subprocess.run(command, capture_output=True, text=True, cwd=top)
    assert done.returncode == 1
    assert done.stderr == "error: photo.jpg: broken\n" and done.stdout == ""
