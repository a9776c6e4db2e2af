"""Disks that are full or read-only, truncated inputs, an edited params.yaml.

Each is one line that names the thing and the remedy, status 1, nothing half-written.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from plugins.hooks.states import save_checkpoint
from plugins.model import build_model
from stages.compare.__main__ import main as compare_main
from stages.downsample.__main__ import main as downsample_main
from stages.evaluate.__main__ import main as evaluate_main
from stages.files import StageError, hash_of, new_file, new_folder, run_stage
from stages.plan import plan
from stages.prepare.__main__ import main as prepare_main
from stages.train import main as train_main
from tests.conftest import STORE
from tests.fake_cells import make_cells, write_grid

TOP = Path(__file__).parent.parent
KEY = "cell"


def mount(folder: Path, options: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small or read-only disk needs root")


@pytest.fixture
def small_disk(tmp_path):
    """Give what makes a folder a disk of so many kilobytes."""
    mounted = []

    def make(folder: Path, kilobytes: int, more: str = "") -> Path:
        mount(folder, f"size={kilobytes}k{more}")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def work(tiny_work, tmp_path, monkeypatch, compose_cell) -> Path:
    """A working folder with a tiny store, a trained cell and its params.yaml."""
    monkeypatch.setattr("stages.files.end_with_parent", lambda parent: None)
    shutil.copytree(tiny_work / "data", tmp_path / "data")
    for name in ("plugins", "stages"):
        (tmp_path / name).symlink_to(TOP / name)
    (tmp_path / "photos").symlink_to(tiny_work / "photos")
    monkeypatch.chdir(tmp_path)
    cell = compose_cell("size=32x24", "schedule=smoke", "method=dark")
    cell = cell | {"data": "tiny", "store": "tiny-32x24"}
    stores = {"tiny-32x24": STORE | {"size": "32x24"}}
    (rendered,) = plan(["grid=single", "data.train=8", "data.val=4"])["data"].values()
    write_params(
        {"data": {"rendered": rendered}, "stores": stores, "cells": {KEY: cell}}
    )
    return tmp_path


def write_params(params: dict) -> None:
    Path("params.yaml").write_text(yaml.safe_dump(params))


def write_checkpoint(work: Path) -> Path:
    """Of random weights."""
    from plugins.datasets.crop_store import CropStore

    cell = yaml.safe_load(Path("params.yaml").read_text())["cells"][KEY]
    store = CropStore(work / "data/stores/tiny-32x24/val")
    model = build_model(cell["train"], store.keypoint_set, store.geometry)
    hashes = {"config_hash": hash_of(cell["train"]), "data_hash": store.data_hash}
    path = work / "runs" / KEY / "checkpoint.pth"
    path.parent.mkdir(parents=True)
    save_checkpoint(hashes | {"state_dict": model.state_dict()}, path)
    return path


@pytest.fixture
def refused(monkeypatch, capsys):
    """Give what runs a stage that must fail, and gives its one line."""

    def run(main, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["stage", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run_stage(main)
        said = capsys.readouterr().err
        lines = [line for line in said.split("\n") if line.startswith("error: ")]
        assert ended.value.code == 1 and len(lines) == 1, said
        assert "Traceback" not in said
        return lines[0]

    return run


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_full_disk_and_a_file(tmp_path, small_disk):
    disk = small_disk(tmp_path / "disk", 64)
    (disk / "result.txt").write_text("old")
    with pytest.raises(StageError, match="result.txt: No space left.*make room"):
        with new_file(disk / "result.txt") as handle:
            handle.write("x" * 100_000)
    with pytest.raises(StageError, match="folder: No space left.*make room"):
        with new_folder(disk / "folder") as aside:
            (aside / "big").write_bytes(bytes(100_000))
    assert names(disk) == ["result.txt"]
    assert (disk / "result.txt").read_text() == "old"


def test_a_read_only_disk(tmp_path, small_disk):
    disk = small_disk(tmp_path / "disk", 64, ",ro")
    for new in (new_file, new_folder):
        with pytest.raises(StageError, match="Read-only file system; make its file sy"):
            with new(disk / "result"):
                raise AssertionError("written")


def test_other_errors_of_the_system_stay_what_they_are(tmp_path):
    with pytest.raises(FileNotFoundError):
        with new_folder(tmp_path / "folder"):
            (tmp_path / "nothing").read_text()


def test_prepare_on_a_full_disk(work, small_disk, refused):
    shutil.rmtree("data")
    disk = small_disk(work / "data", 64)
    said = refused(prepare_main, "rendered", "--jobs", "1")
    assert "data/" in said and "No space left on device; make room on its" in said
    assert names(disk) == []


def test_downsample_on_a_full_disk(work, small_disk, refused):
    """What is done is kept beside; the store is not there."""
    shutil.rmtree("data/stores")
    disk = small_disk(work / "data/stores", 64)
    said = refused(downsample_main, "tiny-32x24", "--jobs", "1")
    assert "data/stores" in said and "make room" in said
    assert set(names(disk)) <= {".tiny-32x24.partial"}


def test_train_on_a_full_disk(work, small_disk, refused, monkeypatch):
    small_disk(work / ".work", 300)
    said = refused(train_main, KEY)
    assert ".work/train" in said and "No space left" in said and "make room" in said
    assert not Path("runs").exists() and not list(work.rglob("*.partial"))


def test_evaluate_on_a_full_and_a_read_only_disk(work, small_disk, refused):
    write_checkpoint(work)
    disk = small_disk(work / "results/cells", 4)
    said = refused(evaluate_main, KEY)
    assert f"results/cells/{KEY}: No space left on device; make room" in said
    assert names(disk) == []
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    said = refused(evaluate_main, KEY)
    assert f"{KEY}.partial: Read-only file system; make its file system wri" in said


def test_compare_into_a_read_only_folder(work, small_disk, refused):
    cells = make_cells(methods=("udp",), sizes=("32x24",))
    write_grid(work, cells)
    source = work / "results"
    disk = small_disk(work / "disk", 4000)
    shutil.copytree(source, disk, dirs_exist_ok=True)
    shutil.rmtree(source)
    source.symlink_to(disk)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    said = refused(compare_main)
    assert "results/" in said and "Read-only file system; make its file sys" in said
    assert names(disk) == ["cells"]


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_forbidden_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StageError, match="Permission denied; change its permissions"):
        with new_file(tmp_path / "result"):
            raise AssertionError("written")


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def test_a_truncated_checkpoint(work, refused):
    cut(write_checkpoint(work))
    said = refused(evaluate_main, KEY)
    assert f"runs/{KEY}/checkpoint.pth: cannot be read" in said
    assert f"train it again: python -m stages.train {KEY}" in said
    assert not Path("results").exists()


@pytest.mark.parametrize("name", ["val/crops.npy", "val/table.npz", "manifest.json"])
@pytest.mark.parametrize("main", [train_main, evaluate_main])
def test_a_truncated_store(work, refused, main, name):
    cut(work / "data/stores/tiny-32x24" / name)
    said = refused(main, KEY)
    assert "data/stores/tiny-32x24/val" in said or "tiny-32x24/train" in said
    assert "make it again with python -m stages.downsample tiny-32x24" in said
    assert not Path("runs").exists() and not Path("results").exists()


def edit(change) -> None:
    params = yaml.safe_load(Path("params.yaml").read_text())
    change(params)
    write_params(params)


REPLAN = "write the file again with python -m stages.plan"
EDITED = {
    "an entry is gone": (
        lambda p: p["cells"][KEY]["train"].pop("schedule"),
        f"params.yaml: cells.{KEY}.train has no 'schedule'; {REPLAN}",
    ),
    "an inner entry is gone": (
        lambda p: p["cells"][KEY]["train"]["schedule"].pop("epochs"),
        f"params.yaml: cells.{KEY}.train.schedule has no 'epochs'; {REPLAN}",
    ),
    "a cell is a word": (
        lambda p: p["cells"].update({KEY: "udp"}),
        f"params.yaml: cells.{KEY} is not a mapping; {REPLAN}",
    ),
    "cells are a list": (
        lambda p: p.update(cells=[KEY]),
        f"params.yaml: 'cells' is not a mapping; {REPLAN}",
    ),
    "a value is a word": (
        lambda p: p["cells"][KEY]["train"]["schedule"].update(batch_size="many"),
        f"{KEY}: ",
    ),
}


@pytest.mark.parametrize("how", EDITED)
def test_an_edited_params_yaml(work, refused, how):
    change, says = EDITED[how]
    edit(change)
    assert says in refused(train_main, KEY)
    assert not Path("runs").exists() and not list(work.rglob("*.partial"))


def test_an_edited_params_yaml_and_other_stages(work, refused):
    write_checkpoint(work)
    edit(lambda p: p["cells"][KEY]["train"].update(seed=7))
    said = refused(evaluate_main, KEY)
    assert "trained with config_hash" in said and "train it again" in said
    edit(lambda p: p["cells"][KEY].pop("evaluate"))
    assert f"cells.{KEY} has no 'evaluate'; {REPLAN}" in refused(evaluate_main, KEY)
    edit(lambda p: p["cells"][KEY].pop("size"))
    assert f"cells.{KEY} has no 'size'; {REPLAN}" in refused(compare_main)
    edit(lambda p: p["stores"]["tiny-32x24"].pop("padding"))
    said = refused(downsample_main, "tiny-32x24")
    assert f"stores.tiny-32x24 has no 'padding'; {REPLAN}" in said
    edit(lambda p: p["data"]["rendered"].pop("noise"))
    said = refused(prepare_main, "rendered", "--jobs", "1")
    assert f"data.rendered has no 'noise'; {REPLAN}" in said
    Path("params.yaml").write_bytes(b"\xff\xfe cells: [")
    assert f"params.yaml is not valid YAML: .*{REPLAN}".split(":")[0] in refused(
        compare_main
    )
