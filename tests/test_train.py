"""Training: repeatable, and after a kill the same as without it."""

import contextlib
import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from plugins.datasets.crop_store import CropStore
from plugins.hooks.history import HistoryHook
from plugins.hooks.resume import KEPT, ResumeHook
from plugins.losses.mse import HeatmapMSELoss
from plugins.model import build_model
from stages.files import StageError, hash_of
from stages.train import SCRATCH, make_runner, only_one, run_hash, train

TOP = Path(__file__).parent.parent
KEY, EPOCHS, BATCHES = "cell", 3, 2
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
    train(KEY, settings, Path("data/stores/tiny-32x24"), Path(folder))
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
def killed_after(epoch: int, monkeypatch, saved: bool = True):
    """End the training in an epoch's last hook, before or after the state is saved."""
    save = ResumeHook.after_train_epoch

    def save_and_end(self, runner):
        ends = runner.epoch + 1 == epoch
        if saved or not ends:
            save(self, runner)
        if ends:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(ResumeHook, "after_train_epoch", save_and_end)
        with pytest.raises(Killed):
            yield


def states() -> list[Path]:
    return sorted(SCRATCH.glob(f"{KEY}-*/epoch_*.pth"))


@pytest.fixture
def whole(work, settings) -> Path:
    """A training that nobody disturbed."""
    return run(settings, "runs/whole")


def test_it_writes_history_and_checkpoint(whole, settings):
    history = history_of(whole)
    assert [row["epoch"] for row in history] == ["1", "2", "3"]
    assert all(float(row["loss"]) > 0 for row in history)
    assert all(0 <= float(row["val_pck"]) <= 100 for row in history)
    assert all(0 < float(row["val_error"]) < 40 for row in history)
    rates = [float(row["learning_rate"]) for row in history]
    assert rates[2] < rates[1]
    assert float(history[-1]["loss"]) < float(history[0]["loss"])
    checkpoint = torch.load(whole / "checkpoint.pth", weights_only=True)
    assert checkpoint["key"] == KEY
    assert checkpoint["config_hash"] == hash_of(settings)
    assert len(checkpoint["data_hash"]) == 12
    # Nothing is left of the scratch folder but the lock.
    assert [path.name for path in SCRATCH.iterdir()] == [f"{KEY}.lock"]


def test_the_same_seed_gives_the_same_training(whole, settings):
    assert_same(whole, run(settings))
    other = run(settings | {"seed": 1}, "runs/other")
    assert history_of(other) != history_of(whole)


@pytest.mark.parametrize(("epoch", "saved"), [(1, True), (2, True), (2, False)])
def test_a_resumed_training_is_the_undisturbed_one(
    whole, settings, monkeypatch, capsys, epoch, saved
):
    with killed_after(epoch, monkeypatch, saved):
        run(settings)
    assert not Path("runs/cell").exists()
    capsys.readouterr()
    resumed = run(settings)
    done = epoch if saved else epoch - 1
    assert f"going on after epoch {done} of {EPOCHS}" in capsys.readouterr().out
    assert_same(whole, resumed)
    assert states() == []


def test_random_numbers_go_on_where_they_stopped(work, settings, monkeypatch):
    """As a method with dropout or sampling in its loss would draw them."""
    forward = HeatmapMSELoss.forward

    def randomly(self, *args):
        return {"heatmap": forward(self, *args)["heatmap"] * torch.rand(())}

    monkeypatch.setattr(HeatmapMSELoss, "forward", randomly)
    whole = run(settings, "runs/whole")
    with killed_after(1, monkeypatch):
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
    for epoch in (1, 2):
        with killed_after(epoch, monkeypatch):
            run(settings)
    last = torch.load(states()[-1], weights_only=True)
    assert (last["epoch"], last["iteration"]) == (2, 2 * BATCHES)
    assert_same(whole, run(settings))


@pytest.mark.parametrize("share", [0.0, 0.6])
def test_a_truncated_state_falls_back_to_the_one_before(
    whole, settings, monkeypatch, capsys, share
):
    with killed_after(2, monkeypatch):
        run(settings)
    first, second = states()
    content = second.read_bytes()
    second.write_bytes(content[: int(share * len(content))])
    capsys.readouterr()
    resumed = run(settings)
    out = capsys.readouterr().out
    assert f"{second.name} cannot be read" in out and "going on after epoch 1" in out
    assert_same(whole, resumed)


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
    assert [path.name for path in states()] == ["epoch_00002.pth", "epoch_00003.pth"]
    assert len(states()) == KEPT


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
    with only_one(SCRATCH / "other", KEY):
        with pytest.raises(StageError, match="cell: another process is training"):
            run(settings)
    assert run(settings).exists()


def test_a_loss_that_is_not_finite_ends_it(work, settings, monkeypatch):
    def without_value(self, outputs, *args):
        return {"heatmap": (outputs["heatmaps"] * float("nan")).mean()}

    monkeypatch.setattr(HeatmapMSELoss, "forward", without_value)
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
    schedule = settings["schedule"] | {"batch_size": 16}
    with pytest.raises(StageError, match="epoch 1: a gradient of backbone.* not fin"):
        run(settings | {"schedule": schedule})
    assert not Path("runs").exists() and states() == []


def test_learnt_weights_of_losses_do_not_decay(work, compose_cell):
    """Decay would pull c toward 0 and the loss' weight 1 / c^2 toward infinity."""
    overrides = ("size=32x24", "schedule=smoke", "auxiliary=bone")
    settings = compose_cell(*overrides, "auxiliary.balance=automatic")["train"]
    stores = [CropStore(Path("data/stores/tiny-32x24") / s) for s in ("train", "val")]
    runner, _ = make_runner(settings, *stores, None, work / "scratch")
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
    assert HistoryHook(None, 2).rows == []


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


def test_a_missing_store_is_named(work, settings):
    with pytest.raises(StageError, match="python -m stages.downsample nowhere"):
        train(KEY, settings, Path("data/stores/nowhere"), Path("runs/cell"))


@pytest.mark.slow
def test_a_process_that_is_killed_goes_on(whole, work, settings):
    """SIGKILL some time after the first state, by the command line that DVC runs."""
    cell = {"store": "tiny-32x24", "train": settings}
    (work / "params.yaml").write_text(yaml.safe_dump({"cells": {KEY: cell}}))
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
