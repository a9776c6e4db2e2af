"""What a sweep costs beside its cells: seconds per cell of DVC, Hydra and comparing.

``python benchmarks/sweep.py [--seeds 4] [--others resolution]``

The same cells are made twice, in two working copies: by a sweep, and by calling each
stage's command. The difference is the sweep's. Called again, the sweep has nothing to
run: what it then takes, most of it for the comparison, it takes for any number of
cells; the rest is what each one more costs. Seconds of processor time are beside those
of the clock: where other work shares the cores, they alone say something.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.clones import TINY, environment, make_clone, plan  # noqa: E402

PYTHON = [sys.executable, "-m"]


def main() -> None:
    """Print both, and the difference per cell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=4, help="cells")
    parser.add_argument("--others", default="single", help="grid that params.yaml has")
    arguments = parser.parse_args()
    seeds = ",".join(map(str, range(arguments.seeds)))
    overrides = [f"seed={seeds}", *TINY]
    with tempfile.TemporaryDirectory() as folder:
        swept, plain = (make_clone(Path(folder) / name) for name in ("swept", "plain"))
        plan(swept, f"grid={arguments.others}", *TINY[1:])
        plan(plain, "grid=single", *overrides)
        sweep = [*PYTHON, "stages.sweep", "-m", *overrides]
        with_sweep, again = measure(swept, [sweep]), measure(swept, [sweep])
        alone = measure(plain, commands(plain))
        others = len(params(swept)["cells"])
    cost = [a - b for a, b in zip(with_sweep, alone, strict=True)]
    more = [a - b for a, b in zip(cost, again, strict=True)]
    for name, (clock, processor) in {
        f"sweep of {arguments.seeds} cells, {others} in params.yaml": with_sweep,
        "their stages alone": alone,
        "the sweep again, with nothing to run": again,
        "cost per cell, all in all": [seconds / arguments.seeds for seconds in cost],
        "cost of one cell more": [seconds / arguments.seeds for seconds in more],
    }.items():
        print(f"{name}: {clock:.1f} s, {processor:.1f} s of the processor")
    print(f"load {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores")


def params(clone: Path) -> dict:
    return yaml.safe_load((clone / "params.yaml").read_text())


def commands(clone: Path) -> list[list[str]]:
    """The stages' commands, as dvc.yaml has them, without compare."""
    found = params(clone)
    called = [("prepare", key) for key in found["data"]]
    called += [("downsample", key) for key in found["stores"]]
    called += [(s, key) for key in found["cells"] for s in ("train", "evaluate")]
    return [[*PYTHON, f"stages.{stage}", key] for stage, key in called]


def measure(clone: Path, called: list[list[str]]) -> tuple[float, float]:
    """Seconds of the clock and of the processor that commands take there."""
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    for command in called:
        subprocess.run(
            command, cwd=clone, env=environment(), check=True, stdout=sys.stderr
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - started, used


if __name__ == "__main__":
    main()
