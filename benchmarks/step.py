"""What each setting of a training step is worth.

Images per second of the bare step (forward, backward, optimizer, on random input) as
conf/schedule has it, and with one setting changed; each in a process of its own, in
turns, the fastest of several rounds. Also how long the first step of the first round
takes, in which torch.compile compiles.

    python benchmarks/step.py --root FOLDER --out step.json

FOLDER is in COCO format, see training.py.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.training import prepare_data, run_measurement  # noqa: E402
from stages.files import run_stage  # noqa: E402

VARIANTS = {
    "as in conf/schedule": (),
    "channels_last=false": ("channels_last=false",),
    "optimizer.fused=false": ("optimizer.fused=false",),
    "precision=bf16": ("precision=bf16",),
    "compile=true": ("compile=true",),
}


def compare(arguments: argparse.Namespace, size: str) -> dict:
    """Figures of every variant; of several rounds the fastest."""
    found: dict[str, dict] = {}
    for _ in range(arguments.rounds):
        for name, changes in VARIANTS.items():
            schedule = [*arguments.schedule, *changes]
            result = run_measurement(arguments, "step", size=size, schedule=schedule)
            rate = result["images_per_s"]
            print(f"{size} {name}: {rate:.0f} images/s", flush=True)
            before = found.setdefault(name, result)
            before["images_per_s"] = max(before["images_per_s"], rate)
    return found


def main() -> None:
    """Measure all variants and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--root", type=Path, required=True, help="folder in COCO format")
    add("--sizes", nargs="+", default=["64x48"])
    add("--backbone", default="hrnet_micro", help="of conf/backbone (hrnet_micro)")
    add("--schedule", nargs="*", default=[], help="settings that all variants have")
    add("--batch-size", type=int, default=32)
    add("--persons", type=int, default=512, help="in an epoch of random input (512)")
    add("--epochs", type=int, default=8)
    add("--rounds", type=int, default=2, help="of which the fastest counts (2)")
    add("--out", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    out = arguments.out.resolve() if arguments.out else None
    root = arguments.root.resolve()
    start = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        # Nothing that was compiled before.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{folder}/compiled"
        prepare_data(root, 1, arguments.sizes, Path(folder))
        found = {size: compare(arguments, size) for size in arguments.sizes}
        os.chdir(start)
    if out:
        out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    run_stage(main)
