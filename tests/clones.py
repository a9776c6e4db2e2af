"""Working copies of the repository, to run its commands in."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
TINY = ["size=32x24", "schedule=smoke", "data.train=24", "data.val=12"]
"""Settings of a grid that takes seconds."""


def make_clone(folder: Path) -> Path:
    """Copy the repository's own files, with a history of their own and no results."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.split("\n")[:-1]:
        if (ROOT / name).is_file() and not name.startswith("results/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / "dvc.lock").unlink(missing_ok=True)
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "clone"]):
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
        subprocess.run(["git", *identity, *command], cwd=folder, check=True)
    return folder


def environment() -> dict:
    """The tests' own Python is the stages' python too."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "CI": "true", "OMP_WAIT_POLICY": "passive"}


def run(clone: Path, *command: str) -> subprocess.CompletedProcess:
    """Run a command there, to its end."""
    return subprocess.run(
        command, cwd=clone, env=environment(), capture_output=True, text=True
    )


def plan(clone: Path, *overrides: str) -> list[str]:
    """Write params.yaml; gives the cells' keys."""
    done = run(clone, sys.executable, "-m", "stages.plan", *overrides)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load((clone / "params.yaml").read_text())["cells"])


def ran(output: str) -> set[str]:
    """Names of the stages that DVC ran."""
    lines = [line for line in output.split("\n") if line.startswith("Running stage")]
    return {line.split("'")[1] for line in lines}
