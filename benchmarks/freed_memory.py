"""What keeping freed memory is worth (stages/memory.py): steps with and without.

Bare steps (forward, backward, optimizer) of one network in processes of their own, in
turns, with glibc as it is and as the stages set it; the medians over the rounds.

    python benchmarks/freed_memory.py --out freed_memory.json
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.training import bare_step  # noqa: E402
from plugins.datasets.keypoint_sets import COCO17  # noqa: E402
from stages.downsample import make_geometry  # noqa: E402
from stages.files import StageError, run_stage  # noqa: E402
from stages.memory import keep_freed_memory  # noqa: E402
from stages.plan import plan  # noqa: E402

STEPS = {"64x48": 60, "128x96": 20, "256x192": 8}
WARM_UP = 4


def measure(size: str, backbone: str, steps: int, kept: bool) -> dict[str, float]:
    """Figures of so many steps in this process."""
    if kept:
        keep_freed_memory()
    planned = plan(["grid=single", f"size={size}", f"backbone={backbone}"])
    (cell,) = planned["cells"].values()
    geometry = make_geometry(planned["stores"][cell["store"]])
    store = SimpleNamespace(keypoint_set=COCO17, geometry=geometry)
    step = bare_step(cell["train"], store)
    for _ in range(WARM_UP):
        step()
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    for _ in range(steps):
        step()
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    system = after.ru_stime - before.ru_stime
    return {
        "ms": 1000 * seconds / steps,
        "kernel_share": system / (system + after.ru_utime - before.ru_utime),
        "page_faults": (after.ru_minflt - before.ru_minflt) / steps,
        "peak_mb": after.ru_maxrss / 1024,
    }


def run_process(size: str, backbone: str, kept: bool) -> dict[str, float]:
    """The same in a process of its own.

    Raises:
        StageError: it failed.
    """
    asked = json.dumps([size, backbone, STEPS[size], kept])
    command = [sys.executable, str(Path(__file__).resolve()), "--measure", asked]
    # The memory of a CPU is meant, also where there is a GPU.
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode:
        raise StageError(f"{size}: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(size: str, backbone: str, rounds: int) -> dict[str, dict[str, float]]:
    """Medians of both ways."""
    found: dict[str, list[dict]] = {"returned": [], "kept": []}
    for _ in range(rounds):
        for name, results in found.items():
            results.append(run_process(size, backbone, name == "kept"))
    return {
        name: {key: statistics.median(r[key] for r in results) for key in results[0]}
        for name, results in found.items()
    }


def main() -> None:
    """Measure, print and write."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    add = parser.add_argument
    add("--measure", help=argparse.SUPPRESS)
    add("--backbone", default="hrnet_micro", help="of conf/backbone (hrnet_micro)")
    add("--rounds", type=int, default=5)
    add("--out", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(*json.loads(arguments.measure))))
        return
    found = {}
    for size in STEPS:
        found[size] = compare(size, arguments.backbone, arguments.rounds)
        ratio = found[size]["kept"]["ms"] / found[size]["returned"]["ms"]
        print(f"{size:10}time with freed memory kept{ratio:8.2f}", flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    run_stage(main)
