"""Training by two processes (gloo, on the CPU) against one with the same batches.

They add the same numbers in another order, so that results differ by rounding; each
comparison says its bound.
"""

import csv
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
from multiprocessing import forkserver
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from mmengine.dist import get_rank, get_world_size
from torch import nn

from plugins import distributed
from plugins.codecs import build_codec
from plugins.datasets.batches import EpochBatches
from plugins.datasets.keypoint_sets import COCO17
from plugins.distributed import GlobalBatchNorm2d, launched
from plugins.hooks import resume
from plugins.hooks.resume import ResumeHook
from plugins.losses.common.objective import Objective
from plugins.model import build_model
from stages.finished import FOLDER
from stages.train import SAVE_SECONDS, SCRATCH, lock_cell, train
from tests.random_outputs import SIZE, make_batch, random_outputs
from tests.test_losses import BONE, EVERY, NONE

TOP = Path(__file__).parent.parent
KEY, EPOCHS = "cell", 2
DATA, TINY = Path("data/tiny"), Path("data/stores/tiny-32x24")
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["conftest", __name__])
pytestmark = pytest.mark.filterwarnings("ignore:.*has been created:UserWarning")


@pytest.fixture(scope="module", autouse=True)
def server():
    """Imports what a training needs once; each process is a fork of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{TOP}{os.pathsep}{TOP / 'tests'}")
        patch.setenv("CUDA_VISIBLE_DEVICES", "-1")
        patch.setenv(SAVE_SECONDS, "0")
        forkserver.ensure_running()


@pytest.fixture
def work(tiny_work, tmp_path, monkeypatch) -> Path:
    """A working folder of its own that has the tiny store and the code."""
    (tmp_path / "data").symlink_to(tiny_work / "data")
    (tmp_path / "photos").symlink_to(tiny_work / "photos")
    for name in ("plugins", "stages"):
        (tmp_path / name).symlink_to(TOP / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(SAVE_SECONDS, "0")
    return tmp_path


def _process(rank: int, processes: int, port: int, folder: Path, function, *args):
    """What a process does: the result, or the error's text, goes into a file."""
    os.chdir(folder)
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ |= {"WORLD_SIZE": str(processes), "MASTER_ADDR": "localhost"}
    os.environ["MASTER_PORT"] = str(port)
    distributed.PATIENCE = 0
    try:
        with launched():
            result = function(*args)
    except BaseException:
        result = traceback.format_exc()
    torch.save(result, f"result_{rank}.pt")


def run(processes: int, function, *args) -> list:
    """What ``function(*args)`` gives in each process; the text of its error if any."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    common = (processes, port, Path.cwd(), function, *args)
    started = [
        CONTEXT.Process(target=_process, args=(rank, *common))
        for rank in range(processes)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
        assert process.exitcode == 0
    files = [f"result_{rank}.pt" for rank in range(processes)]
    return [torch.load(file, weights_only=True) for file in files]


def my_slice(length: int) -> slice:
    share = length // get_world_size()
    return slice(get_rank() * share, (get_rank() + 1) * share)


def assert_close(found: dict, expected: dict, **tolerance) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        torch.testing.assert_close(
            found[name],
            values,
            **tolerance,
            msg=lambda text, name=name: f"{name}: {text}",
        )


def test_each_process_gets_its_slice_of_the_same_batches():
    whole = list(EpochBatches(50, 12, seed=3))
    parts = [list(EpochBatches(50, 12, 3, process, 4)) for process in range(4)]
    assert len(whole) == 4 and {len(part) for part in parts} == {4}
    for (epoch, rows), *shares in zip(whole, *parts, strict=True):
        assert [len(share) for _, share in shares] == [3] * 4
        assert {e for e, _ in shares} == {epoch}
        np.testing.assert_array_equal(np.concatenate([s for _, s in shares]), rows)
    with pytest.raises(ValueError, match="batch of 12 persons cannot .* 5 processes"):
        EpochBatches(50, 12, 3, 0, 5)


def normalise(dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Two steps of a batch norm, its gradients, and what it gives in evaluation.

    In bfloat16 the layer itself is float32, as under autocast.
    """
    torch.manual_seed(0)
    inputs = 3 * torch.randn(8, 5, 4, 3, dtype=torch.float64) + 2
    inputs += torch.arange(8).view(-1, 1, 1, 1)
    weights = torch.randn(inputs.shape, dtype=torch.float64)
    layer = nn.BatchNorm2d(5)
    layer = layer.double() if dtype == torch.float64 else layer
    layer.weight.data.uniform_(), layer.bias.data.uniform_()
    if get_world_size() > 1:
        layer.__class__ = GlobalBatchNorm2d
    mine = my_slice(8)
    for part in (inputs - 1, inputs):
        part = part[mine].to(dtype).requires_grad_()
        outputs = layer(part)
    (outputs.square() * weights[mine]).mean().backward()
    return {
        "outputs": outputs.detach(),
        "inputs.grad": part.grad / get_world_size(),
        "evaluated": layer.eval()(part).detach(),
        "weight.grad": layer.weight.grad,
        "bias.grad": layer.bias.grad,
        **layer.state_dict(),
    }


@pytest.mark.parametrize(("dtype", "far"), [("float64", 1e-12), ("bfloat16", 1e-2)])
def test_normalisation_is_that_of_the_whole_batch(tmp_path, monkeypatch, dtype, far):
    """torch's own, of all persons, is the reference."""
    monkeypatch.chdir(tmp_path)
    dtype = getattr(torch, dtype)
    expected, (first, second) = normalise(dtype), run(2, normalise, dtype)
    for name in ("outputs", "inputs.grad", "evaluated"):
        first[name] = torch.cat((first[name], second[name]))
    for name in ("weight.grad", "bias.grad"):
        first[name] = (first[name] + second[name]) / 2
    assert_close(first, expected, rtol=far, atol=far)
    kept = [
        {n: v for n, v in part.items() if "running" in n} for part in (first, expected)
    ]
    assert_close(*kept, rtol=1e-5, atol=1e-5)


OBJECTIVES = {name: (loss, NONE, codec) for name, (loss, codec) in EVERY.items()} | {
    "balanced": ({"name": "mse"}, BONE | {"balance": "automatic"}, "udp"),
    "rle-bone": ({"name": "rle"}, BONE | {"balance": "fixed"}, "regression"),
}
PERSONS, STEPS = 6, 5


def learn(name: str) -> dict[str, torch.Tensor]:
    """Some steps of an objective, whose own state they change; labels lie unevenly."""
    loss, auxiliary, codec = OBJECTIVES[name]
    torch.manual_seed(0)
    codec = build_codec(codec, SIZE)
    objective = Objective(loss, auxiliary, codec)
    keypoints, visible = make_batch(PERSONS)
    visible[0], visible[1, 3:], visible[5, 7] = 0, 0, 0
    mine, found = my_slice(PERSONS), {}
    outputs = {n: o[mine] for n, o in random_outputs(codec, PERSONS).items()}
    for step in range(STEPS):
        moved = {n: o.roll(step, -1).requires_grad_() for n, o in outputs.items()}
        target = codec.encode_batch(keypoints[mine], visible[mine])
        total = sum(objective(moved, target).values())
        objective.zero_grad()
        total.backward()
        found[f"total {step}"] = total.detach()
    for n, values in moved.items():
        if values.grad is not None:
            found[f"gradient {n}"] = values.grad / get_world_size()
    for n, values in objective.named_parameters():
        if values.grad is not None:
            found[f"mean {n}"] = values.grad
    return found | {f"state {n}": v for n, v in objective.state_dict().items()}


def learn_all() -> dict[str, dict]:
    return {name: learn(name) for name in OBJECTIVES}


@pytest.fixture(scope="module")
def learnt(tmp_path_factory) -> list[dict]:
    """Every objective in one process, and in each of two."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("learnt"))
        return run(1, learn_all) + run(2, learn_all)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_losses_are_those_of_the_whole_batch(learnt, name):
    """Totals and parameters' gradients as their average, which is what DDP makes."""
    expected, first, second = (values[name] for values in learnt)
    assert any(key.startswith("gradient") for key in expected)
    for key in expected:
        if key.startswith("gradient"):
            first[key] = torch.cat((first[key], second[key]))
        elif key.startswith(("total", "mean")):
            first[key] = (first[key] + second[key]) / 2
        else:
            assert torch.equal(first[key], second[key]), key
    assert_close(first, expected, rtol=2e-5, atol=1e-6)


METHODS = {
    "udp": ("method=udp",),
    "cal": ("method=cal",),
    "flow": ("method=cal", "method.loss.weighting=flow"),
    "rle": ("method=rle",),
    "simcc": ("method=simcc",),
    "bone": ("method=regression_l1", "auxiliary=bone"),
    "balanced": ("method=udp", "auxiliary=bone", "auxiliary.balance=automatic"),
}


@pytest.fixture
def make_settings(compose_cell):
    """Settings of a tiny cell of one of the methods, two epochs of two batches."""
    return lambda name: compose_cell("size=32x24", "schedule=smoke", *METHODS[name])[
        "train"
    ]


def train_cell(settings: dict, folder: str, dies: int | None = None) -> None:
    """Train in float64; if so asked, one process fails after the first epoch.

    In float32 rounding alone moves weights by 1e-2 of their size in four steps.
    """
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double
    if dies is not None:
        ResumeHook.after_train_epoch = _failing(ResumeHook.after_train_epoch, dies)
    train(KEY, settings, DATA, TINY, Path(folder))


def _failing(save, process: int):
    def save_and_fail(self, runner):
        save(self, runner)
        if get_rank() == process:
            raise RuntimeError("its own failure")

    return save_and_fail


def train_until_told(settings: dict, folder: str, step: int) -> None:
    """Train; the second process alone gets SIGTERM, in that step."""
    os.environ[SAVE_SECONDS], resume.ASK_EVERY = "3600", 1
    after_step = ResumeHook.after_train_iter

    def told(self, runner, *args, **kwargs):
        if get_rank() == 1 and runner.iter + 1 == step:
            os.kill(os.getpid(), signal.SIGTERM)
        after_step(self, runner, *args, **kwargs)

    ResumeHook.after_train_iter = told
    train_cell(settings, folder)


def weights_of(folder: str) -> dict[str, torch.Tensor]:
    return torch.load(f"{folder}/checkpoint.pth", weights_only=True)["state_dict"]


def history_of(folder: str) -> dict[str, torch.Tensor]:
    """Columns but for the seconds."""
    with open(f"{folder}/history.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    names = [name for name in rows[0] if name != "seconds"]
    return {n: torch.tensor([float(row[n]) for row in rows]) for n in names}


def assert_same_training(one: str, other: str) -> None:
    """Up to 1e-7 of each tensor's largest number."""
    for read in (weights_of, history_of):
        first, second = read(one), read(other)
        assert first.keys() == second.keys()
        far = {
            name: float((second[name] - values).abs().max() / values.abs().max())
            for name, values in first.items()
            if not torch.equal(values, second[name])
        }
        print(other, max(far.values(), default=0.0))
        assert {name: d for name, d in far.items() if not d <= 1e-7} == {}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] * (n != "udp")) for n in METHODS],
)
def test_two_processes_train_as_one(work, make_settings, name):
    settings = make_settings(name)
    assert run(1, train_cell, settings, "one") == [None]
    shutil.rmtree(SCRATCH)
    assert run(2, train_cell, settings, "two") == [None, None]
    assert_same_training("one", "two")


def test_a_killed_training_goes_on_with_any_number_of_processes(work, make_settings):
    """The one with most of a state; its flow learns again in the fifth batch."""
    settings = make_settings("flow")
    settings = settings | {"schedule": settings["schedule"] | {"epochs": 3}}
    assert run(1, train_cell, settings, "one") == [None]
    shutil.rmtree(SCRATCH)
    first, second = run(2, train_cell, settings, "two", 1)
    assert "its own failure" in second and "its own failure" not in first
    check_going_on(settings, "epoch_00001_0000000")


def test_sigterm_to_one_process_ends_all_with_a_state(work, make_settings):
    """Inside an epoch, whose loss so far is that of all processes."""
    settings = make_settings("flow")
    assert run(1, train_cell, settings, "one") == [None]
    shutil.rmtree(SCRATCH)
    said = run(2, train_until_told, settings, "two", 3)
    assert all("SystemExit: 143" in each for each in said), said
    check_going_on(settings, "epoch_00001_0000001")


def check_going_on(settings: dict, state: str) -> None:
    """From this state two processes, or one, come where an undisturbed one came."""
    assert not Path("two").exists()
    (found,) = SCRATCH.glob("*/epoch_*.pth")
    assert found.name.startswith(f"{state}-")
    shutil.copytree(SCRATCH, "kept")
    assert run(2, train_cell, settings, "two") == [None, None]
    shutil.rmtree(SCRATCH)
    shutil.copytree("kept", SCRATCH)
    assert run(1, train_cell, settings, "alone") == [None]
    for folder in ("two", "alone"):
        assert_same_training("one", folder)
    assert [path.name for path in SCRATCH.glob("*/*")] == [FOLDER]


@pytest.mark.slow
def test_every_process_must_find_the_same_state(work, make_settings):
    settings = make_settings("udp")
    run(2, train_cell, settings, "two", 1)
    first, second = run(2, _train_apart, settings)
    assert (
        "StageError: cell: processes go on from steps 2 and 0; .work/train/cell-"
        in (second)
    )
    assert first is not None


def _train_apart(settings: dict) -> None:
    """As on two machines that do not share their files."""
    if get_rank() == 1:
        resume.load_state = lambda folder, say: None
    train_cell(settings, "two")


def test_one_process_never_communicates(work, make_settings, monkeypatch):
    """Not even where torchrun started it."""

    def refuse(*args, **kwargs):
        raise AssertionError("communicates")

    for name in ("init_process_group", "all_reduce", "all_gather", "broadcast"):
        monkeypatch.setattr(torch.distributed, name, refuse)
    for name in ("barrier", "all_gather_into_tensor", "broadcast_object_list"):
        monkeypatch.setattr(torch.distributed, name, refuse)
    monkeypatch.setenv("RANK", "0"), monkeypatch.setenv("WORLD_SIZE", "1")
    with launched():
        assert not torch.distributed.is_initialized()
        train(KEY, make_settings("flow"), DATA, TINY, Path("one"))
    assert Path("one/checkpoint.pth").exists()


@pytest.mark.parametrize("backbone", ["hrnet_micro", "resnet18"])
@pytest.mark.parametrize("method", sorted(p.stem for p in TOP.glob("conf/method/*")))
def test_every_step_uses_every_parameter(compose_cell, geometry, method, backbone):
    """DistributedDataParallel waits for each one's gradient, but where one rests."""
    settings = compose_cell("size=64x48", f"method={method}", f"backbone={backbone}")
    model = build_model(settings["train"], COCO17, geometry("64x48"))
    keypoints, visible = make_batch(2)
    samples = {"keypoints": keypoints, "visible": visible}
    losses = model(torch.randn(2, 3, 64, 48), samples, mode="loss")
    sum(losses.values()).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


def torchrun(*arguments: str) -> list[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*command, "--nproc-per-node", "2", "-m", "stages.train", *arguments]


@pytest.fixture
def command_line(work, make_settings) -> Path:
    """The same working folder with a tiny cell of 20 epochs in its params.yaml."""
    settings = make_settings("udp")
    schedule = settings["schedule"] | {"epochs": 20}
    cell = {"data": "tiny", "store": "tiny-32x24"}
    cell |= {"train": settings | {"schedule": schedule}}
    (work / "params.yaml").write_text(yaml.safe_dump({"cells": {KEY: cell}}))
    return work


def say(*arguments: str) -> tuple[int, str]:
    """Exit status of torchrun, and all that was printed."""
    done = subprocess.run(torchrun(*arguments), capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_what_is_wrong_is_said_once(command_line):
    status, said = say("nothing")
    assert status != 0 and said.count("error: params.yaml: no 'nothing'") == 1
    with lock_cell(KEY):
        status, said = say(KEY)
    assert status != 0 and said.count("another process is training this cell") == 1
    assert not Path("runs").exists()


def wait_for(condition, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("victim", "how"),
    [("torchrun", "SIGKILL"), ("torchrun", "SIGTERM"), ("worker", "SIGKILL")],
)
def test_torchrun_trains_and_goes_on_after_a_kill(command_line, victim, how):
    log = open("log.txt", "w+")
    first = subprocess.Popen(torchrun(KEY), stdout=log)
    wait_for(lambda: list(SCRATCH.glob("*/epoch_*.pth")))
    workers = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
    assert len(workers) == 2
    process = first.pid if victim == "torchrun" else int(workers[1])
    os.kill(process, signal.Signals[how])
    assert first.wait(60) != 0
    wait_for(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
    asked = Path("log.txt").read_text().count("ended by SIGTERM")
    assert asked == (victim == "torchrun")
    assert not Path("runs").exists()
    status, said = say(KEY)
    assert status == 0, said
    assert said.count("going on after epoch") == said.count("epoch 20/20") == 1
    assert "epoch 1/20" not in said
    assert history_of(f"runs/{KEY}")["epoch"].tolist() == list(range(1, 21))
    assert not any(name.startswith("module.") for name in weights_of(f"runs/{KEY}"))
