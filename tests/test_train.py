"""Training: repeatable, and after a kill the same as without it."""

import contextlib
import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from plugins.datasets.crop_store import CropStore
from plugins.hooks import resume
from plugins.hooks.history import HistoryHook
from plugins.hooks.resume import ResumeHook
from plugins.hooks.states import KEPT, load_state, saved_states
from plugins.losses.mse import HeatmapMSELoss
from plugins.model import build_model
from stages.files import StageError, hash_of
from stages.finished import FOLDER
from stages.train import (
    SAVE_SECONDS,
    SCRATCH,
    lock_cell,
    make_runner,
    run_hash,
    train,
)

TOP = Path(__file__).parent.parent
KEY, EPOCHS, BATCHES = "cell", 3, 2
DATA, TINY = Path("data/tiny"), Path("data/stores/tiny-32x24")
MODULES = ("plugins", "stages")
# MMEngine names its singletons by the second; here several trainings share one.
pytestmark = pytest.mark.filterwarnings("ignore:.*has been created:UserWarning")


@pytest.fixture
def work(tiny_work, tmp_path, monkeypatch) -> Path:
    """A working folder of its own that has the tiny store, code, and no results."""
    (tmp_path / "data").symlink_to(tiny_work / "data")
    (tmp_path / "photos").symlink_to(tiny_work / "photos")
    for name in MODULES:
        (tmp_path / name).symlink_to(TOP / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(SAVE_SECONDS, "0")
    return tmp_path


@pytest.fixture
def settings(compose_cell) -> dict:
    """The smallest cell, with a warm-up and a schedule that a resumption must keep."""
    train = compose_cell("size=32x24", "schedule=smoke")["train"]
    warm = {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "end": 4}
    cosine = {"type": "CosineAnnealingLR", "T_max": EPOCHS, "by_epoch": True}
    schedule = train["schedule"] | {
        "epochs": EPOCHS,
        "param_scheduler": [warm, cosine | {"convert_to_iter_based": True}],
    }
    return train | {"schedule": schedule}


def run(settings: dict, folder: str = "runs/cell") -> Path:
    """Train, though the same cell may be finished already."""
    for finished in SCRATCH.glob(f"*/{FOLDER}"):
        shutil.rmtree(finished.parent)
    train(KEY, settings, DATA, TINY, Path(folder))
    return Path(folder)


def history_of(folder: Path) -> list[dict]:
    """Rows without the seconds."""
    with open(folder / "history.csv", newline="") as handle:
        return [{**row, "seconds": None} for row in csv.DictReader(handle)]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoint.pth", weights_only=True)["state_dict"]


def assert_same(one: Path, two: Path) -> None:
    assert history_of(one) == history_of(two)
    weights, others = weights_of(one), weights_of(two)
    assert weights.keys() == others.keys()
    assert [n for n in weights if not torch.equal(weights[n], others[n])] == []


class Killed(BaseException):
    """Stands for a kill: nothing in the code under test may catch it."""


@contextlib.contextmanager
def killed_after(epochs: int, monkeypatch, batches: int = 0, saved: bool = True):
    """End the training at such a state, before or after it is saved."""
    save = resume.save_state

    def save_and_end(state, folder, *done):
        ends = done == (epochs, batches)
        if saved or not ends:
            save(state, folder, *done)
        if ends:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(resume, "save_state", save_and_end)
        with pytest.raises(Killed):
            yield


def states() -> list[Path]:
    """The oldest first."""
    return sorted(SCRATCH.glob(f"{KEY}-*/epoch_*.pth"))


def stages_of(paths: list[Path]) -> list[str]:
    """Epochs and batches of states, without their hashes."""
    return [path.name.partition("-")[0] for path in paths]


@pytest.fixture
def whole(work, settings) -> Path:
    """A training that nobody disturbed."""
    return run(settings, "runs/whole")


def test_it_writes_history_and_checkpoint(whole, settings):
    history = history_of(whole)
    assert [row["epoch"] for row in history] == ["1", "2", "3"]
    assert all(float(row["loss"]) > 0 for row in history)
    assert all(0 <= float(row["val_ap"]) <= 100 for row in history)
    assert all(0 <= float(row["val_pck"]) <= 100 for row in history)
    assert all(0 < float(row["val_error"]) < 40 for row in history)
    rates = [float(row["learning_rate"]) for row in history]
    assert rates[2] < rates[1]
    assert float(history[-1]["loss"]) < float(history[0]["loss"])
    checkpoint = torch.load(whole / "checkpoint.pth", weights_only=True)
    assert checkpoint["key"] == KEY
    assert checkpoint["config_hash"] == hash_of(settings)
    assert len(checkpoint["data_hash"]) == 12
    # Nothing is left in the scratch folder but the lock and the results.
    (lock,), (scratch,) = SCRATCH.glob("*.lock"), SCRATCH.glob(f"{KEY}-*")
    assert lock.name == f"{KEY}.lock" and lock.read_text() == ""
    assert [path.name for path in scratch.iterdir()] == [FOLDER]


def test_the_same_seed_gives_the_same_training(whole, settings):
    assert_same(whole, run(settings))
    other = run(settings | {"seed": 1}, "runs/other")
    assert history_of(other) != history_of(whole)


@pytest.mark.parametrize(
    ("done", "saved", "says"),
    [
        ((1, 0), True, f"after epoch 1 of {EPOCHS}\n"),
        ((2, 0), False, f"after epoch 1 of {EPOCHS} and 1 batches\n"),
        ((1, 1), True, f"after epoch 1 of {EPOCHS} and 1 batches\n"),
        ((0, 1), True, f"after epoch 0 of {EPOCHS} and 1 batches\n"),
        ((EPOCHS, 0), True, f"after epoch {EPOCHS} of {EPOCHS}\n"),
    ],
)
def test_a_resumed_training_is_the_undisturbed_one(
    whole, settings, monkeypatch, capsys, done, saved, says
):
    with killed_after(done[0], monkeypatch, done[1], saved):
        run(settings)
    assert not Path("runs/cell").exists()
    capsys.readouterr()
    resumed = run(settings)
    assert f"going on {says}" in capsys.readouterr().out
    assert_same(whole, resumed)
    assert states() == []


@pytest.mark.parametrize("done", [(1, 0), (1, 1)])
def test_random_numbers_go_on_where_they_stopped(work, settings, monkeypatch, done):
    """As a method with dropout or sampling in its loss would draw them."""
    forward = HeatmapMSELoss.forward

    def randomly(self, *args):
        return {"heatmap": forward(self, *args)["heatmap"] * torch.rand(())}

    monkeypatch.setattr(HeatmapMSELoss, "forward", randomly)
    whole = run(settings, "runs/whole")
    with killed_after(done[0], monkeypatch, done[1]):
        run(settings)
    torch.rand(5)
    assert_same(whole, run(settings))


def test_the_smoke_schedule_has_none_and_goes_on(work, compose_cell, monkeypatch):
    """A schedule without a change of the learning rate."""
    settings = compose_cell("size=32x24", "schedule=smoke")["train"]
    assert settings["schedule"]["param_scheduler"] == []
    whole = run(settings, "runs/whole")
    with killed_after(1, monkeypatch):
        run(settings)
    assert_same(whole, run(settings))


def test_it_may_be_killed_twice(whole, settings, monkeypatch):
    for done in ((0, 1), (1, 1)):
        with killed_after(done[0], monkeypatch, done[1]):
            run(settings)
    last = torch.load(states()[-1], weights_only=True)
    assert (last["epoch"], last["batches"]) == (1, 1)
    assert last["iteration"] == BATCHES + 1
    assert_same(whole, run(settings))


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(0.6 * len(content))])


def flip_a_bit(path: Path) -> None:
    """Of a weight: torch reads it as well as before."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage", [truncate, flip_a_bit, lambda path: path.write_bytes(b"")]
)
def test_a_damaged_state_falls_back_to_the_one_before(
    whole, settings, monkeypatch, capsys, damage
):
    with killed_after(2, monkeypatch):
        run(settings)
    first, second = states()
    damage(second)
    capsys.readouterr()
    resumed = run(settings)
    out = capsys.readouterr().out
    assert f"{second.name} is damaged" in out
    assert "going on after epoch 1 of 3 and 1 batches" in out
    assert_same(whole, resumed)


def test_without_a_whole_state_it_begins_again(whole, settings, monkeypatch, capsys):
    with killed_after(2, monkeypatch):
        run(settings)
    for path in states():
        truncate(path)
    capsys.readouterr()
    assert_same(whole, run(settings))
    out = capsys.readouterr().out
    assert out.count("is damaged") == 2 and "epoch 1/3" in out


def test_layers_that_mmengine_does_not_initialise_are_seeded(
    work, settings, monkeypatch
):
    def build_with_more(*args):
        model = build_model(*args)
        model.more = torch.nn.Linear(3, 3)
        return model

    monkeypatch.setattr("stages.train.build_model", build_with_more)
    weights = []
    for number in (1, 2):
        torch.manual_seed(number)
        weights.append(weights_of(run(settings, f"runs/{number}"))["more.weight"])
    assert torch.equal(*weights)


def test_only_the_last_states_are_kept(work, settings, monkeypatch):
    with killed_after(EPOCHS, monkeypatch):
        run(settings)
    names = stages_of(states())
    assert names == ["epoch_00002_0000001", "epoch_00003_0000000"]
    assert len(names) == KEPT


def test_a_state_is_saved_every_so_often_and_after_the_last_epoch(
    work, settings, monkeypatch
):
    saved, save = [], resume.save_state
    monkeypatch.setattr(
        resume, "save_state", lambda *args: (saved.append(args[2:]), save(*args))
    )
    monkeypatch.setenv(SAVE_SECONDS, "3600")
    run(settings)
    assert saved == [(EPOCHS, 0)]
    monkeypatch.setenv(SAVE_SECONDS, "0")
    saved.clear()
    run(settings)
    assert saved == [(0, 1), (1, 0), (1, 1), (2, 0), (2, 1), (3, 0)]


def test_large_states_are_saved_less_often(work, settings, monkeypatch):
    """Saving that takes 1 s may come every 50 s; the clock stands otherwise."""
    moment, saved, save = [0.0], [], resume.save_state

    def slowly(*args):
        moment[0] += 1
        saved.append(args[2:])
        save(*args)

    def step(self, *args, **kwargs):
        moment[0] += 20
        after_step(self, *args, **kwargs)

    after_step = ResumeHook.after_train_iter
    monkeypatch.setattr(ResumeHook, "after_train_iter", step)
    monkeypatch.setattr(resume, "save_state", slowly)
    monkeypatch.setattr(resume.time, "monotonic", lambda: moment[0])
    monkeypatch.setenv(SAVE_SECONDS, "15")
    run(settings)
    # After 20 s, then not before 50 s later, and at the end.
    assert saved == [(0, 1), (2, 0), (3, 0)]


def test_sigterm_saves_and_ends(whole, settings, monkeypatch, capsys):
    monkeypatch.setenv(SAVE_SECONDS, "3600")
    after_step = HistoryHook.after_train_iter

    def terminated(self, runner, *args, **kwargs):
        after_step(self, runner, *args, **kwargs)
        if runner.iter == BATCHES:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(HistoryHook, "after_train_iter", terminated)
        run(settings)
    assert ended.value.code == 143
    assert "the same command goes on from here" in capsys.readouterr().out
    # A second one does not wait.
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert stages_of(states()) == ["epoch_00001_0000001"]
    signal.signal(signal.SIGTERM, before)
    assert_same(whole, run(settings))
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_full_disk_leaves_the_states_before(work, settings, monkeypatch):
    """The message names the file; what there was is still there."""
    with killed_after(1, monkeypatch):
        run(settings)
    before = states()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("plugins.hooks.states.os.fsync", full)
        with pytest.raises(OSError, match="No space left.*epoch_00001_0000001"):
            run(settings)
    assert states() == before
    assert not list(SCRATCH.rglob("*.partial"))


def test_a_finished_training_is_not_repeated(work, settings, monkeypatch):
    """DVC removes outputs that it had no time to note, and runs the stage again."""
    whole = run(settings)
    before = {path.name: path.read_bytes() for path in whole.iterdir()}
    shutil.rmtree(whole)
    with monkeypatch.context() as patch:
        patch.setattr("stages.train.make_runner", None)
        train(KEY, settings, DATA, TINY, whole)
    assert {path.name: path.read_bytes() for path in whole.iterdir()} == before
    (checkpoint,) = SCRATCH.glob(f"*/{FOLDER}/checkpoint.pth")
    flip_a_bit(checkpoint)
    train(KEY, settings, DATA, TINY, whole)
    assert weights_of(whole).keys() and history_of(whole)
    assert (whole / "checkpoint.pth").read_bytes() == before["checkpoint.pth"]


def test_what_others_finished_goes_after_an_hour(work, settings):
    for key, age in (("old", 4000), ("new", 3000)):
        folder = SCRATCH / f"{key}-0123" / FOLDER
        folder.mkdir(parents=True)
        os.utime(folder, (time.time() - age,) * 2)
    started = SCRATCH / "unfinished-0123/epoch_00001_0000000-01.pth"
    started.parent.mkdir()
    started.touch()
    os.utime(started, (0, 0))
    train(KEY, settings, DATA, TINY, Path("runs/cell"))
    assert started.exists()
    assert {p.name for p in SCRATCH.glob("*-0123")} == {"new-0123", "unfinished-0123"}


def test_states_that_are_no_files_of_ours_are_not_loaded(tmp_path):
    (tmp_path / "epoch_00009.pth").write_bytes(b"not ours")
    said: list[str] = []
    assert load_state(tmp_path, said.append) is None
    assert len(saved_states(tmp_path)) == len(said) == 1


def test_a_state_of_other_settings_data_or_code_is_not_continued(
    work, settings, monkeypatch, capsys
):
    with killed_after(1, monkeypatch):
        run(settings)
    capsys.readouterr()
    run(settings | {"seed": 5})
    assert "going on" not in capsys.readouterr().out
    schedule = settings["schedule"]
    others = [
        run_hash(settings, "other data", None),
        run_hash(settings | {"schedule": schedule | {"epochs": 4}}, "data", None),
        run_hash(settings, "data", None),
    ]
    for number in (1, 2):
        Path("start.pth").write_bytes(bytes([number]))
        others.append(run_hash(settings, "data", Path("start.pth")))
    (work / "plugins").unlink()
    (work / "plugins").mkdir()
    (work / "plugins/changed.py").write_text("value = 1\n")
    others.append(run_hash(settings, "data", None))
    assert len(set(others)) == 6


def test_a_second_process_is_refused(work, settings):
    with lock_cell(KEY):
        with pytest.raises(StageError, match="cell: another process is training"):
            run(settings)
    assert run(settings).exists()


def test_a_loss_that_is_not_finite_ends_it(work, settings, monkeypatch):
    def without_value(self, outputs, *args):
        return {"heatmap": (outputs["heatmaps"] * float("nan")).mean()}

    monkeypatch.setattr(HeatmapMSELoss, "forward", without_value)
    monkeypatch.setenv(SAVE_SECONDS, "3600")
    with pytest.raises(StageError, match="cell: epoch 1: the loss is nan; lower sched"):
        run(settings)
    assert not Path("runs").exists() and states() == []


def test_a_gradient_that_is_not_finite_ends_it(work, settings, monkeypatch):
    """The loss of the epoch's last step tells nothing of what that step spoils."""
    whole = HeatmapMSELoss.forward

    def with_broken_gradient(self, outputs, *args):
        outputs["heatmaps"].register_hook(lambda gradient: gradient * float("inf"))
        return whole(self, outputs, *args)

    monkeypatch.setattr(HeatmapMSELoss, "forward", with_broken_gradient)
    monkeypatch.setenv(SAVE_SECONDS, "3600")
    schedule = settings["schedule"] | {"batch_size": 16}
    with pytest.raises(StageError, match="epoch 1: a gradient of backbone.* not fin"):
        run(settings | {"schedule": schedule})
    assert not Path("runs").exists() and states() == []


def test_learnt_weights_of_losses_do_not_decay(work, compose_cell):
    """Decay would pull c toward 0 and the loss' weight 1 / c^2 toward infinity."""
    overrides = ("size=32x24", "schedule=smoke", "auxiliary=bone")
    settings = compose_cell(*overrides, "auxiliary.balance=automatic")["train"]
    stores = [CropStore(TINY / s) for s in ("train", "val")]
    runner, _ = make_runner(settings, *stores, {}, None, work / "scratch")
    groups = runner.build_optim_wrapper(runner.optim_wrapper).optimizer.param_groups
    model = runner.model
    learnt = {id(p) for p in model.head.objective.balance.parameters()}
    undecayed = {id(p) for g in groups for p in g["params"] if g["weight_decay"] == 0}
    assert len(learnt) == 2 and undecayed == learnt
    assert sum(len(g["params"]) for g in groups) == len(list(model.parameters()))


def test_validation_comes_every_so_often_and_at_the_end(work, settings, monkeypatch):
    schedule = settings["schedule"] | {"validate_every": 2, "epochs": 3}
    folder = run(settings | {"schedule": schedule})
    validated = [row["val_error"] != "nan" for row in history_of(folder)]
    assert validated == [False, True, True]
    assert HistoryHook(None, {}, 2).rows == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s["method"]["codec"].update(name="none"), "codec 'none': expected"),
        (lambda s: s["method"]["loss"].update(name="none"), "loss 'none': expected"),
        (lambda s: s["backbone"]["network"].update(name="x"), "backbone 'x': expected"),
        (lambda s: s["method"]["codec"].update(sigma=-1), "sigma -1"),
        (lambda s: s["method"]["codec"].update(width=1), "width"),
        (lambda s: s["schedule"].update(batch_size=64), "16 persons do not fill"),
    ],
)
def test_wrong_settings_are_named(work, settings, change, says):
    settings = yaml.safe_load(yaml.safe_dump(settings))
    change(settings)
    with pytest.raises(StageError, match=f"cell: .*{says}"):
        run(settings)
    assert not Path("runs").exists()


def test_a_store_of_other_data_is_refused(work, settings):
    """The data was prepared again: its AP would be measured on other persons."""
    data = work / "again/tiny"
    shutil.copytree(DATA, data)
    manifest = data / "manifest.json"
    manifest.write_text(
        manifest.read_text().replace('"data_hash": "', '"data_hash": "0')
    )
    with pytest.raises(
        StageError, match="again/tiny now holds data 0.*python -m stages"
    ):
        train(KEY, settings, data, TINY, Path("runs/cell"))
    assert not Path("runs").exists()


def test_a_missing_store_is_named(work, settings):
    with pytest.raises(StageError, match="python -m stages.downsample nowhere"):
        train(KEY, settings, DATA, Path("data/stores/nowhere"), Path("runs/cell"))


@pytest.mark.slow
def test_a_process_that_is_killed_goes_on(whole, work, settings):
    """SIGKILL some time after the first state, by the command line that DVC runs."""
    cell = {"data": "tiny", "store": "tiny-32x24", "train": settings}
    (work / "params.yaml").write_text(yaml.safe_dump({"cells": {KEY: cell}}))
    shutil.rmtree(SCRATCH)  # of the undisturbed one, which need not be repeated
    command = [sys.executable, "-m", "stages.train", KEY]
    environment = os.environ | {"PYTHONPATH": str(work), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=work, env=environment)
    deadline = time.monotonic() + 300
    while not states() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert states() and not Path("runs/cell").exists()
    done = subprocess.run(
        command, cwd=work, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "going on after epoch" in done.stdout
    assert_same(whole, Path("runs/cell"))
