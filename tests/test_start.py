"""Where a training starts: weights that fit, from a file or from another cell."""

import os
from pathlib import Path

import pytest
import torch

from plugins.datasets.keypoint_sets import COCO17
from plugins.hooks.resume import ResumeHook
from plugins.hooks.start import StartHook, start_from
from plugins.losses.common.objective import Objective
from plugins.model import build_model
from stages.files import StageError
from stages.train import SAVE_SECONDS, find_start, train

EPOCHS = 3
# MMEngine names its singletons by the second; here several trainings share one.
pytestmark = pytest.mark.filterwarnings("ignore:.*has been created:UserWarning")


@pytest.fixture
def make_model(compose_cell, geometry):
    """Build a model of random weights, none of them at its initial value."""

    def make(seed: int, *overrides: str):
        settings = compose_cell("size=32x24", *overrides)["train"]
        model = build_model(settings, COCO17, geometry("32x24"))
        generator = torch.Generator().manual_seed(seed)
        for value in (*model.parameters(), *model.buffers()):
            if value.is_floating_point():
                value.data = torch.rand(value.shape, generator=generator)
        return model

    return make


def save(model, path: Path, wrapped: bool = True) -> Path:
    state = model.state_dict()
    torch.save({"state_dict": state, "key": "other"} if wrapped else state, path)
    return path


def taken(model, other) -> set[str]:
    """Names of the tensors of numbers that are the other's."""
    found, others = model.state_dict(), other.state_dict()
    return {
        name
        for name, value in found.items()
        if value.is_floating_point() and name in others
        if torch.equal(value, others[name])
    }


def numbers(model, prefix: str = "") -> set[str]:
    values = model.state_dict().items()
    return {n for n, v in values if n.startswith(prefix) and v.is_floating_point()}


@pytest.mark.parametrize("wrapped", [True, False])
def test_the_same_network_is_taken_over_whole(make_model, tmp_path, wrapped):
    """From a checkpoint, or from a bare state dict as other tools write it."""
    model, other = make_model(0), make_model(1)
    said = start_from(model, save(other, tmp_path / "w.pth", wrapped), "all")
    assert taken(model, other) == numbers(model)
    count = len(model.state_dict())
    assert said == f"{tmp_path}/w.pth: {count} of {count} tensors taken over"


def test_of_another_method_the_backbone_fits_and_some_of_the_head(make_model, tmp_path):
    model, other = make_model(0, "method=simcc"), make_model(1)
    before = {name: v.clone() for name, v in model.state_dict().items()}
    said = start_from(model, save(other, tmp_path / "w.pth"), "all")
    fitting = numbers(model, "backbone.") | numbers(model, "head.maps.")
    assert taken(model, other) == fitting
    left = numbers(model) - fitting
    assert left == {"head.x.weight", "head.x.bias", "head.y.weight", "head.y.bias"}
    assert all(torch.equal(before[name], model.state_dict()[name]) for name in left)
    assert said.endswith("; from scratch, wholly or partly: head.x, head.y")


def test_the_backbone_alone(make_model, tmp_path):
    model, other = make_model(0), make_model(1)
    said = start_from(model, save(other, tmp_path / "w.pth"), "backbone")
    assert taken(model, other) == numbers(model, "backbone.")
    assert "from scratch" not in said


@pytest.mark.parametrize("part", ["all", "backbone"])
def test_weights_of_a_bare_backbone_fit(make_model, tmp_path, part):
    """As ImageNet's are: no pose estimator's names, and a classifier besides."""
    model, other = make_model(0), make_model(1)
    bare = {
        name.removeprefix("backbone."): value
        for name, value in other.state_dict().items()
        if name.startswith("backbone.")
    }
    torch.save(bare | {"classifier.weight": torch.ones(3, 3)}, tmp_path / "w.pth")
    start_from(model, tmp_path / "w.pth", part)
    assert taken(model, other) == numbers(model, "backbone.")


def test_what_a_loss_has_learnt_is_not_taken_over(make_model, tmp_path):
    """RLE's flow, CAL's density and balanced weights belong to their own training."""
    for method in ("rle", "cal"):
        model, other = (make_model(seed, f"method={method}") for seed in (0, 1))
        start_from(model, save(other, tmp_path / "w.pth"), "all")
        own = numbers(model, "head.objective.")
        assert own and taken(model, other) == numbers(model) - own


def test_tensors_of_another_shape_are_left(make_model, tmp_path):
    model, other = make_model(0), make_model(1)
    state = other.state_dict()
    name = "head.maps.final_layer.weight"
    state[name] = state[name][:5]
    torch.save(state, tmp_path / "w.pth")
    said = start_from(model, tmp_path / "w.pth", "all")
    assert taken(model, other) == numbers(model) - {name}
    assert said.endswith("from scratch, wholly or partly: head.maps")


@pytest.mark.parametrize("part", ["all", "backbone"])
def test_an_unrelated_network_is_refused(make_model, tmp_path, part):
    """The count of a BatchNorm's batches has the shape of every other."""
    other = make_model(1, "backbone=resnet18", "method=rle")
    path = save(other, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="none of its [0-9]+ tensors fits the model"):
        start_from(make_model(0), path, part)


class Hostile:
    """Would run a command when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


FAULTS = {
    "hostile": lambda path: torch.save(Hostile(path.with_name("ran")), path),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:5000]),
    "text": lambda path: path.write_text("weights"),
    "list": lambda path: torch.save([torch.zeros(2)], path),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_file_of_weights_is_refused(make_model, tmp_path, fault):
    model = make_model(0)
    path = save(make_model(1), tmp_path / "w.pth")
    FAULTS[fault](path)
    before = numbers(model), model.state_dict()["backbone.conv1.weight"].clone()
    with pytest.raises(ValueError, match="init .*w.pth: not readable as weights"):
        start_from(model, path, "all")
    assert not (tmp_path / "ran").exists()
    assert torch.equal(before[1], model.state_dict()["backbone.conv1.weight"])


def test_an_unknown_part_is_named():
    with pytest.raises(ValueError, match="init_part 'head': expected all or backbone"):
        StartHook(None, "head")


def test_a_cell_goes_before_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_start({"from": "none", "part": "all"}) is None
    with pytest.raises(StageError, match="init=there: neither a trained cell .* file"):
        find_start({"from": "there", "part": "all"})
    Path("there").touch()
    assert find_start({"from": "there", "part": "all"}) == Path("there")
    Path("runs/there").mkdir(parents=True)
    Path("runs/there/checkpoint.pth").touch()
    found = find_start({"from": "there", "part": "all"})
    assert found == Path("runs/there/checkpoint.pth")


@pytest.fixture
def work(tiny_work, tmp_path, monkeypatch) -> Path:
    """A working folder of its own with the tiny store, and no results."""
    for name in ("data", "photos"):
        (tmp_path / name).symlink_to(tiny_work / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(work, compose_cell):
    """Train a cell of this name."""

    def train_cell(key: str, method: str, start: str, rate: float = 0.003) -> dict:
        overrides = ("size=32x24", "schedule=smoke", f"method={method}")
        settings = compose_cell(*overrides)["train"]
        schedule = settings["schedule"] | {"epochs": EPOCHS}
        schedule["optimizer"] = schedule["optimizer"] | {"lr": rate}
        settings |= {"schedule": schedule, "init": {"from": start, "part": "all"}}
        folder, store = Path("runs") / key, Path("data/stores/tiny-32x24")
        train(key, settings, Path("data/tiny"), store, folder)
        return torch.load(folder / "checkpoint.pth", weights_only=True)["state_dict"]

    return train_cell


def test_a_training_starts_from_another_cell(run, capsys):
    """At a learning rate of 0 the weights stay what they were."""
    first = run("first", "udp", "none")
    capsys.readouterr()
    second = run("second", "simcc", "first", rate=0.0)
    out = capsys.readouterr().out
    assert "runs/first/checkpoint.pth: " in out and "partly: head.x, head.y" in out
    counted = ("running_mean", "running_var", "num_batches_tracked")
    weights = {name for name in second if not name.endswith(counted)}
    weights -= {f"head.{axis}.{kind}" for axis in "xy" for kind in ("weight", "bias")}
    assert weights <= set(first) and "head.maps.final_layer.weight" in weights
    assert all(torch.equal(first[name], second[name]) for name in weights)


class Killed(BaseException):
    """Stands for a kill: nothing in the code under test may catch it."""


def test_a_resumed_training_does_not_start_again(run, monkeypatch, capsys):
    run("first", "udp", "none")
    whole = run("whole", "dark", "first")
    save_state, told = ResumeHook.after_train_epoch, []

    def save_and_end(self, runner):
        save_state(self, runner)
        if runner.epoch == 0:
            raise Killed

    monkeypatch.setenv(SAVE_SECONDS, "0")
    with monkeypatch.context() as patch:
        patch.setattr(ResumeHook, "after_train_epoch", save_and_end)
        with pytest.raises(Killed):
            run("again", "dark", "first")
    capsys.readouterr()

    def remember(self, progress):
        told.append(progress)

    monkeypatch.setattr(Objective, "start_epoch", remember)
    again = run("again", "dark", "first")
    assert "going on after epoch 1 of 3" in capsys.readouterr().out
    assert [n for n in whole if not torch.equal(whole[n], again[n])] == []
    # The losses hear where the training is, not where this process began.
    assert told == [1 / EPOCHS, 2 / EPOCHS]
