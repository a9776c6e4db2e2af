"""The files of a sweep: what it consists of, what its jobs said and how they ended."""

import json
import os
import platform
import re
import time
from dataclasses import dataclass
from pathlib import Path

from stages.files import StageError, hash_of, write_json

SWEEPS = Path(".work/sweep")
LOCKS = Path(".work/locks")
NAME = 60
"""Longest name that is made of overrides; more is cut."""


@dataclass(frozen=True)
class Sweep:
    """A sweep's folder.

    Attributes:
        name: of the sweep.
        params: what the planner composed: data, stores, cells and the like.
    """

    name: str
    params: dict

    @property
    def cells(self) -> dict[str, dict]:
        """Its cells by key."""
        return self.params["cells"]

    def stages(self, key: str) -> list[str]:
        """The DVC stages of one cell alone, in their order; all others are shared."""
        transfers = [
            f"transfer@{name}"
            for name, transfer in self.params.get("transfers", {}).items()
            if transfer["trained"] == key
        ]
        return [f"train@{key}", f"evaluate@{key}", *transfers]

    def log(self, key: str) -> Path:
        """What the job of a cell printed."""
        return SWEEPS / self.name / "logs" / f"{key}.log"

    def start(self, key: str) -> Path:
        """Where the last job of a cell has started."""
        return SWEEPS / self.name / "starts" / f"{key}.json"

    def ending(self, key: str) -> Path:
        """How the last job of a cell ended; there is none while it runs."""
        return SWEEPS / self.name / "endings" / f"{key}.json"

    def save(self) -> None:
        """Write it down for the jobs."""
        write_json(SWEEPS / self.name / "sweep.json", self.params)


def load_sweep(name: str | None) -> Sweep:
    """The sweep of that name; None: the one started last.

    Raises:
        StageError: there is none.
    """
    found = {path.parent.name: path for path in SWEEPS.glob("*/sweep.json")}
    if name is None and found:
        name = max(found, key=lambda each: found[each].stat().st_mtime)
    if name not in found:
        known = ", ".join(sorted(found)) or "none; start one: python -m stages.sweep -m"
        raise StageError(f"no sweep {name or ''}; there are: {known}")
    return Sweep(name, json.loads(found[name].read_text()))


def name_sweep(overrides: list[str]) -> str:
    """A name that the same overrides always have."""
    ordered = sorted(overrides)
    words = [re.sub(r"\W+", "_", override).strip("_") for override in ordered]
    name = "-".join(words) or "default"
    return name if len(name) <= NAME else f"{name[:NAME]}-{hash_of(ordered)[:6]}"


def lock_of(key: str) -> Path:
    """Who brings a cell up to date holds this lock."""
    return LOCKS / f"{key}.lock"


def write_start(sweep: Sweep, key: str) -> None:
    """Write down that a job has started: in SLURM, which one."""
    sweep.ending(key).unlink(missing_ok=True)
    job = os.environ.get("SLURM_JOB_ID")
    write_json(sweep.start(key), {"slurm": job, "host": platform.node()})


def write_ending(sweep: Sweep, key: str, started: float, status: int) -> None:
    """Write down how a job ended: exit status, seconds and what its log says of it."""
    error = "" if status == 0 else last_words(sweep.log(key))
    seconds = round(time.time() - started, 1)
    ending = {"status": status, "seconds": seconds, "error": error}
    write_json(sweep.ending(key), ending)


def read(record: Path) -> dict | None:
    """What was written down; None: nothing."""
    try:
        return json.loads(record.read_text())
    except FileNotFoundError:
        return None


def last_words(log: Path) -> str:
    """The line of a log that says why: a stage's error, else the last before DVC's."""
    try:
        text = log.read_text(errors="replace")
    except FileNotFoundError:
        return "no log"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    before = [line for line in lines if not line.startswith("ERROR: failed to repro")]
    said = errors or before or lines or ["no output"]
    return said[-1].removeprefix("error: ")
