"""What a sweep asks of DVC: what has changed, and to make it."""

import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from stages.files import StageError
from stages.sweep.commands import dvc, environment
from stages.sweep.record import Sweep


def changed_stages(targets: Iterable[str] = ()) -> set[str]:
    """Names of the stages that DVC would run for these ones; of all, without targets.

    Raises:
        StageError: DVC cannot say.
    """
    targets = list(targets)
    with_deps = ["--with-deps"] if targets else []
    command = ["status", "--json", *with_deps, *targets]
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as errors:
        status = dvc(*command, output=said, errors=errors)
        said.seek(0), errors.seek(0)
        if status:
            raise StageError(f"dvc status failed: {errors.read().strip()}")
        return set(json.load(said))


def changed_cells(sweep: Sweep) -> set[str]:
    """Names of the stages that DVC would run for the cells of a sweep."""
    return changed_stages(itertools.chain(*map(sweep.stages, sweep.cells)))


def make_shared(sweep: Sweep) -> list[str]:
    """Bring up to date what cells share; gives the cells that are not up to date.

    Where a shared stage fails, the cells that need it fail too, and the others do not.

    Raises:
        StageError: DVC cannot say what has changed.
    """
    own = set(itertools.chain(*map(sweep.stages, sweep.cells)))
    made: set[str] = set()
    while True:
        changed = changed_cells(sweep)
        shared = changed - own
        if not shared - made:  # DVC names what a change reaches only once it is made
            return [key for key in sweep.cells if changed & set(sweep.stages(key))]
        if dvc("repro", "--keep-going", *sorted(shared)):
            print("a shared stage failed (see above)", file=sys.stderr)
        made |= shared


def compare(name: str, keys: list[str]) -> bool:
    """Compare these cells in results/sweeps/; says whether that succeeded."""
    out = Path("results/sweeps") / name
    command = [sys.executable, "-m", "stages.compare", "--out", str(out)]
    done = subprocess.run([*command, "--cells", *keys], env=environment())
    return done.returncode == 0


def compare_all() -> None:
    """Bring results/ up to date."""
    dvc("repro", "--single-item", "compare")
