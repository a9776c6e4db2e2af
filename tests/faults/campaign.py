"""Kill every stage, and dvc itself, at random moments; then run the same command again.

    python -m tests.faults.campaign --trials 65 --seed 0

Each trial starts from a copy of a tiny project in which all stages before its own are
done. It is killed once, by SIGKILL or SIGTERM: at any moment, while something is being
written, or in the middle of saving a state. Checked are then: no process is left; what
was there before is unchanged; an output is there whole or not at all; the same command
ends well, goes on from the newest saved state, runs nothing again that was finished,
gives results identical to those of an undisturbed run, and leaves no temporary file.

The method is CAL's with a flow: it has most of a state, and draws random numbers.
Stages are forks of this process, which has imported all they need: kills at any moment
would otherwise mostly fall into imports. Under dvc they are processes as usual.
"""

import argparse
import atexit
import contextlib
import hashlib
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from joblib.externals.loky import process_executor

import stages.files
from stages.compare.__main__ import main as compare
from stages.downsample.__main__ import main as downsample
from stages.evaluate.__main__ import main as evaluate
from stages.files import run_stage
from stages.finished import is_finished
from stages.prepare.__main__ import main as prepare
from stages.train import main as train
from tests.clones import TINY, environment, make_clone, plan, ran
from tests.fake_cells import shrink_codec_report

TABLE = Path(__file__).with_name("campaign.md")
CELL = ["grid=single", "method=cal", "method.loss.weighting=flow", *TINY]
CELL += ["method.loss.warmup=0", "schedule.epochs=6"]
MAINS = {"prepare": prepare, "downsample": downsample, "train": train}
MAINS |= {"evaluate": evaluate, "compare": compare}
STAGES = tuple(MAINS)
FORK = multiprocessing.get_context("fork")
TURNS = [(stage, how) for stage in STAGES for how in ("any", "writing")]
TURNS += [("train", "any"), ("train", "checkpoint"), ("dvc", "any")]
"""One of each in turn, by SIGKILL and SIGTERM alternately."""
SIGNALS = {"KILL": signal.SIGKILL, "TERM": signal.SIGTERM}
MOMENTS = {
    "any": "any moment",
    "writing": "while writing",
    "checkpoint": "while saving a state",
}
PLACES = ("data", "data/stores", "runs", "results", "results/cells", ".work/train/*")
"""Where something may lie half-written."""
MARK = "FAULT_TRIAL"
TIMES = ["persons_per_s", "network_s", "decoder_s"]
PATIENCE = 60.0
"""Seconds in which what a killed process started has to end."""


class Project:
    """A tiny project, a copy of it before each stage, and one that is complete."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.started = folder, 0
        if not (folder / "work").exists():
            plan(make_clone(folder / "work"), *CELL)
        params = yaml.safe_load((folder / "work/params.yaml").read_text())
        (data,), (store,), (self.key,) = (
            params[name] for name in ("data", "stores", "cells")
        )
        self.items = {"prepare": data, "downsample": store}
        self.items |= {"train": self.key, "evaluate": self.key, "compare": ""}
        self.outputs = {
            "prepare": f"data/{data}",
            "downsample": f"data/stores/{store}",
            "train": f"runs/{self.key}",
            "evaluate": f"results/cells/{self.key}",
            "compare": "results",
        }
        self.seconds = {}
        for name, measure in (("dvc", self.make), ("forks", self.time_forks)):
            known = folder / f"{name}.json"
            if not known.exists():
                known.write_text(json.dumps(measure()))
            self.seconds[name] = json.loads(known.read_text())

    def make(self) -> dict[str, float]:
        """Run every stage by dvc, undisturbed; gives the seconds that each took."""
        work, seconds = self.folder / "work", {}
        for stage, item in self.items.items():
            shutil.copytree(work, self.folder / stage, symlinks=True)
            started = time.monotonic()
            name = f"{stage}@{item}" if item else stage
            done = self.start(work, "dvc", "repro", "-s", name).wait()
            seconds[stage] = time.monotonic() - started
            assert done == 0, self.said()
        shutil.copytree(work, self.folder / "complete", symlinks=True)
        return seconds

    def time_forks(self) -> dict[str, float]:
        """The same without dvc; the results must be the same."""
        seconds = {}
        for stage in STAGES:
            work = self.work_before(stage)
            started = time.monotonic()
            done = self.start(work, *self.command(stage, stage)).wait()
            seconds[stage] = time.monotonic() - started
            assert done == 0, self.said()
            problems = check_end(self, work, [stage])
            assert not problems, problems
        return seconds

    @property
    def mark(self) -> str:
        """Value of an environment variable that all processes of a command have."""
        return f"{self.folder}:{self.started}."

    def work_before(self, stage: str) -> Path:
        """A fresh working folder."""
        work = self.folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(self.folder / stage, work, symlinks=True)
        return work

    def command(self, target: str, stage: str) -> list[str]:
        """What is run, killed, and run again."""
        if target == "dvc":
            # The pictures of compare take as long as all else; others end before it.
            whole = stage == "compare"
            return ["dvc", "repro", *([] if whole else [f"evaluate@{self.key}"])]
        item = self.items[target]
        # Two, so that there are worker processes on a single core too.
        jobs = ["--jobs", "2"] if target in ("prepare", "downsample") else []
        return [target, *([item] if item else []), *jobs]

    def start(self, work: Path, name: str, *arguments: str) -> "Running":
        """Start dvc or a stage; what it and its children say goes to log.txt."""
        self.started += 1
        place = {"TMPDIR": str(work / ".tmp"), MARK: self.mark}
        place |= {"DVC_SITE_CACHE_DIR": str(self.folder / "site")}
        place |= environment() | {"TRAIN_SAVE_SECONDS": "0"}
        (work / ".tmp").mkdir(exist_ok=True)
        return Running(work, place, self.folder / "log.txt", name, arguments)

    def said(self) -> str:
        """What the last command printed."""
        return (self.folder / "log.txt").read_text()


class Running:
    """dvc as a process of its own; a stage as a fork of this one, with no imports."""

    def __init__(
        self, work: Path, place: dict, log: Path, name: str, arguments: Sequence[str]
    ) -> None:
        self.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        self.place, self.work = place, work
        if name == "dvc":
            target, arguments = run_dvc, (self, *arguments)
        else:
            target, arguments = run_forked, (self, name, *arguments)
        self.process = FORK.Process(target=target, args=arguments)
        self.process.start()
        os.close(self.log)

    def enter(self) -> None:
        """What the new process does first."""
        os.chdir(self.work)
        os.environ.update(self.place)
        os.dup2(self.log, 1)
        os.dup2(self.log, 2)

    def poll(self) -> int | None:
        """Its status, if it has ended."""
        return self.process.exitcode

    def wait(self) -> int:
        """Its status, once it has ended."""
        self.process.join()
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        """To it alone, if it still runs."""
        if self.poll() is None:
            os.kill(self.process.pid, number)


def run_dvc(running: Running, *arguments: str) -> None:
    """Become dvc."""
    running.enter()
    os.execv(sys.executable, [sys.executable, "-m", "dvc", *arguments])


def run_forked(running: Running, stage: str, *arguments: str) -> None:
    """Run a stage's main function, with a small report on codecs in compare."""
    weakref.finalize._registry.clear()  # what the parent cleans up itself
    running.enter()
    sys.argv = [stage, *arguments]
    stages.files.PARENT = os.getppid()
    tempfile.tempdir = None
    shrink_codec_report(pytest.MonkeyPatch())
    try:
        run_stage(MAINS[stage])
    finally:
        # What an interpreter's end does, but not a fork's.
        process_executor._python_exit()
        atexit._run_exitfuncs()


def wait_for_moment(
    process: Running, work: Path, how: str, seconds: float, draw: random.Random
) -> None:
    """Return when it is to be killed, or when it has ended."""
    if how == "any":
        deadline = time.monotonic() + draw.uniform(0, seconds)
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        return
    left, seen = (draw.randint(1, 20) if how == "checkpoint" else 1), False
    while process.poll() is None and left:
        found = bool(half_written(work, ".state" if how == "checkpoint" else ""))
        left -= found and not seen
        seen = found
        time.sleep(0.0005)
    if how == "writing":
        time.sleep(draw.uniform(0, 0.5) * draw.random())


def half_written(work: Path, name: str = "") -> list[Path]:
    """What lies aside."""
    return [p for place in PLACES for p in work.glob(f"{place}/{name}*.partial")]


def processes(mark: str) -> list[str]:
    """Command lines of what has this mark and lives."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (path / "environ").read_bytes():
                found.append((path / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def fingerprint(folder: Path) -> dict[str, str]:
    """Hash of every file, but for what depends on the time that something took."""
    hashes = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = str(path.relative_to(folder))
        if name.startswith("codecs/"):
            continue  # smaller here, see run_forked
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                content = b"".join(file[n].tobytes() for n in file.files)
        elif path.suffix == ".csv":
            frame = pd.read_csv(path)
            left_out = [c for c in ("seconds", *TIMES) if c in frame]
            content = frame.drop(columns=left_out).to_csv().encode()
        elif path.suffix in (".png", ".svg", ".md", ".tex", ".html"):
            content = b"there"
        else:
            content = path.read_bytes()
        hashes[name] = hashlib.sha256(content).hexdigest()
    return hashes


def newest_state(work: Path) -> tuple[int, int] | str | None:
    """Epochs and batches of what a training left; or that it is finished."""
    for scratch in work.glob(".work/train/*-*/"):
        if is_finished(scratch):
            return "finished"
        for path in sorted(scratch.glob("epoch_*.pth"), reverse=True):
            epochs, batches = path.name.partition("-")[0].split("_")[1:]
            return int(epochs), int(batches)
    return None


def noted(work: Path) -> set[str]:
    """Stages that DVC has noted as done."""
    path = work / "dvc.lock"
    return set(yaml.safe_load(path.read_text())["stages"]) if path.exists() else set()


def check_after_kill(project: Project, work: Path, before: int) -> list[str]:
    """Nothing is lost, left running, or there in part."""
    problems = []
    deadline = time.monotonic() + PATIENCE
    while (left := processes(project.mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    problems += [f"still runs: {command}" for command in left]
    for place, stage in enumerate(STAGES[:-1]):
        output = work / project.outputs[stage]
        if place < before and not output.exists():
            problems.append(f"{stage}'s output is lost")
        elif output.exists() and fingerprint(output) != fingerprint(
            project.folder / "complete" / project.outputs[stage]
        ):
            problems.append(f"{stage}'s output is there in part")
    return problems


def check_state(state: tuple[int, int] | str | None, said: str) -> list[str]:
    """The training went on from the newest state, or was not repeated."""
    if state == "finished":
        return ["a finished training ran again"] if "cache none" in said else []
    if state is None:
        return []
    went_on = re.search(r"going on after epoch (\d+) of \d+(?: and (\d+))?", said)
    if went_on is None:
        return [f"did not go on from {state}"]
    found = int(went_on[1]), int(went_on[2] or 0)
    return [] if found == state else [f"went on from {found} instead of {state}"]


def check_end(project: Project, work: Path, stages: Sequence[str]) -> list[str]:
    """The same results as without the kill, and nothing else."""
    problems = []
    for stage in stages:
        found = fingerprint(work / project.outputs[stage])
        expected = fingerprint(project.folder / "complete" / project.outputs[stage])
        different = {n for n in found | expected if found.get(n) != expected.get(n)}
        problems += [f"differs: {name}" for name in sorted(different)]
    # torch leaves a folder for what it compiles, undisturbed too.
    left = [p for p in (work / ".tmp").iterdir() if "torchinductor" not in p.name]
    left += half_written(work)
    return problems + [f"left over: {path.relative_to(work)}" for path in left]


def try_once(project: Project, number: int, draw: random.Random) -> dict:
    """One trial: the moment of the kill, what was found, and what was wrong."""
    target, how = TURNS[number % len(TURNS)]
    turn = number // len(TURNS)
    name = list(SIGNALS)[(number % len(TURNS) + turn) % 2]
    stage = draw.choice(STAGES) if target == "dvc" else target
    work = project.work_before(stage)
    command = project.command(target, stage)
    process = project.start(work, *command)
    started = time.monotonic()
    seconds = project.seconds["dvc" if target == "dvc" else "forks"][stage]
    wait_for_moment(process, work, how, 1.1 * seconds, draw)
    seconds = time.monotonic() - started
    in_time = process.poll() is None
    process.send_signal(SIGNALS[name])
    process.wait()
    problems = check_after_kill(project, work, STAGES.index(stage))
    state, done = newest_state(work), noted(work)
    aside = [path.name for path in half_written(work)]
    status = project.start(work, *command).wait()
    said = project.said()
    if status:
        problems.append(f"run again: status {status}: {said.strip()[-300:]}")
    else:
        if target in ("train", "dvc") and "evaluate" not in done:
            again = f"train@{project.key}" not in done
            problems += check_state(state, said) if again else []
        problems += [f"ran again: {name}" for name in ran(said) & done]
        last = STAGES if stage == "compare" else STAGES[:-1]
        problems += check_end(project, work, last if target == "dvc" else [target])
    return {
        "trial": number,
        "target": f"dvc ({stage} on)" if target == "dvc" else target,
        "moment": MOMENTS[how],
        "signal": name,
        "seconds": round(seconds, 2),
        "in_time": in_time,
        "state": state,
        "aside": aside,
        "problems": problems,
    }


def render(trials: list[dict], command: str) -> str:
    """The summary, and every trial that went wrong."""
    frame = pd.DataFrame(trials)
    frame["target"] = frame["target"].str.partition(" ")[0]
    frame["wrong"] = frame["problems"].map(bool)
    frame["resumed"] = frame["state"].map(lambda s: s is not None)
    frame["aside"] = frame["aside"].map(bool)
    lines = ["# Killed at random moments", "", f"`{command}`", ""]
    lines += ["| killed | when | signal | trials | before its end | something half-"]
    lines[-1] += "written | a state to go on from | wrong |"
    lines += ["| :-- | :-- | :-- |" + " --: |" * 5]
    for names, group in frame.groupby(["target", "moment", "signal"], sort=False):
        counts = [len(group)]
        counts += [group[c].sum() for c in ("in_time", "aside", "resumed", "wrong")]
        lines.append("| " + " | ".join(map(str, [*names, *counts])) + " |")
    counts = [len(frame)]
    counts += [frame[c].sum() for c in ("in_time", "aside", "resumed", "wrong")]
    lines.append("| all | | | " + " | ".join(map(str, counts)) + " |")
    for trial in trials:
        lines += [
            f"- trial {trial['trial']} ({trial['target']}, {trial['moment']}, "
            f"{trial['signal']}): {problem}"
            for problem in trial["problems"]
        ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the trials; the status is 1 if something was wrong."""
    parser = argparse.ArgumentParser(prog="tests.faults.campaign", description=__doc__)
    parser.add_argument("--trials", type=int, default=len(TURNS))
    parser.add_argument("--first", type=int, default=0, help="go on with this trial")
    parser.add_argument("--folder", help="of a project that is kept and used again")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="Markdown file (tests/faults/)")
    parser.add_argument("--log", type=Path, help="a JSON line per trial is added here")
    arguments = parser.parse_args()
    trials = []
    with contextlib.ExitStack() as stack:
        folder = arguments.folder or stack.enter_context(tempfile.TemporaryDirectory())
        project = Project(Path(folder).resolve())
        for number in range(arguments.first, arguments.trials):
            draw = random.Random(f"{arguments.seed}-{number}")
            trials.append(try_once(project, number, draw))
            print(json.dumps(trials[-1]), flush=True)
            if arguments.log:
                with open(arguments.log, "a") as log:
                    log.write(json.dumps(trials[-1]) + "\n")
    if arguments.log:
        trials = [json.loads(line) for line in arguments.log.read_text().splitlines()]
    command = "python -m tests.faults.campaign"
    command += f" --trials {arguments.trials} --seed {arguments.seed}"
    (arguments.out or TABLE).write_text(render(trials, command))
    return any(trial["problems"] for trial in trials)


if __name__ == "__main__":
    sys.exit(main())
