"""What settings of a training step cost or bring.

Whole training steps (warp, targets, network, loss, optimizer) on the same random
crops: udp with one setting of conf/schedule changed, and CAL with each of its
weightings, of which ``disc`` fits no density. All take turns, step by step, so that
what else the machine does meets all of them; the median of each, as a ratio to the
first of its group. Also how long the very first step takes, in which torch.compile
compiles.

    python benchmarks/step.py --out step.json
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from plugins import mmpose_compat  # noqa: E402

mmpose_compat.install()

import torch  # noqa: E402  (MMPose's imports come after the adaptations)

from plugins.datasets.augment import (  # noqa: E402
    DRAWS,
    AugmentSettings,
    augment_persons,
)
from plugins.datasets.crop_store import CropGeometry  # noqa: E402
from plugins.datasets.keypoint_sets import COCO17  # noqa: E402
from plugins.model import build_model  # noqa: E402
from plugins.step import build_optimizer, prepare_model  # noqa: E402
from stages.downsample import make_geometry  # noqa: E402
from stages.memory import keep_freed_memory  # noqa: E402
from stages.plan import plan  # noqa: E402

WARM_UP = 10
"""Steps that do not count."""
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
GROUPS = {
    "udp": {
        "as in conf/schedule": (),
        "channels_last=false": ("schedule.channels_last=false",),
        "optimizer.fused=false": ("schedule.optimizer.fused=false",),
        "precision=bf16": ("schedule.precision=bf16",),
        "compile=true": ("schedule.compile=true",),
    },
    "cal": {
        "disc": ("method.loss.weighting=disc",),
        "gt": ("method.loss.weighting=gt",),
        "pred": ("method.loss.weighting=pred",),
        "gmm, 1 Gaussian": ("method.loss.components=1",),
        "gmm, 3 Gaussians": ("method.loss.components=3",),
        "gmm, 5 Gaussians": ("method.loss.components=5",),
        "flow": ("method.loss.weighting=flow",),
    },
}
"""Overrides of the variants, by method; what all cells of a method have is below."""
SHARED = {"udp": (), "cal": ("method.loss.warmup=0",)}


def random_batch(
    geometry: CropGeometry, count: int, settings: AugmentSettings
) -> dict[str, torch.Tensor]:
    """What ``TrainingCrops`` gives, of noise."""
    generator = torch.Generator().manual_seed(0)
    crop, size = geometry.crop_size, torch.tensor(geometry.input_size)
    keypoints = torch.rand((count, len(COCO17), 2), generator=generator) * (size - 1)
    crops = torch.randint(
        0, 256, (count, crop[1], crop[0], 3), dtype=torch.uint8, generator=generator
    )
    visible = torch.full((count, len(COCO17)), 2, dtype=torch.uint8)
    draws = torch.rand((count, len(DRAWS)), generator=generator)
    people = (keypoints, visible, torch.ones(count, 2), COCO17, geometry, settings)
    batch = augment_persons(draws, *people) | {"crops": crops}
    return {name: values.to(DEVICE) for name, values in batch.items()}


def make_step(
    args: argparse.Namespace, method: str, changes: tuple[str, ...]
) -> Callable:
    """One training step of a method with these overrides."""
    chosen = [f"size={args.size}", f"backbone={args.backbone}", f"method={method}"]
    chosen += [*SHARED[method], *changes]
    planned = plan(["grid=single", *chosen])
    (cell,) = planned["cells"].values()
    settings = cell["train"]
    geometry = make_geometry(planned["stores"][cell["store"]])
    torch.manual_seed(0)
    model = build_model(settings, COCO17, geometry)
    prepare_model(model, settings["schedule"])
    model.to(DEVICE).train()
    optimizer = build_optimizer(model, settings["schedule"], DEVICE)
    augment = AugmentSettings(**settings["augment"])
    batch = random_batch(geometry, args.batch_size, augment)
    return lambda: model.train_step(batch, optimizer)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--size", default="64x48")
    add("--backbone", default="hrnet_micro", help="of conf/backbone (hrnet_micro)")
    add("--batch-size", type=int, default=32)
    add("--steps", type=int, default=100, help="of each, after ten that do not count")
    add("--out", type=Path, help="JSON file for the figures")
    args = parser.parse_args()
    keep_freed_memory()  # as stages.train does
    figures = {"size": args.size}
    for method, variants in GROUPS.items():
        steps = {name: make_step(args, method, c) for name, c in variants.items()}
        figures[method] = measure(steps, args.steps)
        usual = next(iter(figures[method].values()))["ms"]
        for name, found in figures[method].items():
            ratio, first = found["ms"] / usual, found["first_s"]
            line = f"{method:5}{name:24}{found['ms']:8.1f} ms{ratio:8.3f}"
            print(f"{line}   first step {first:.1f} s", flush=True)
    if args.out:
        args.out.write_text(json.dumps(figures, indent=1) + "\n")


def measure(steps: dict[str, Callable], count: int) -> dict[str, dict[str, float]]:
    """Median milliseconds of each, and seconds of its first step."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(WARM_UP + count):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            if DEVICE == "cuda":
                torch.cuda.synchronize()
            taken[name].append(time.perf_counter() - started)
    return {
        name: {
            "ms": 1000 * statistics.median(seconds[WARM_UP:]),
            "first_s": seconds[0],
        }
        for name, seconds in taken.items()
    }


if __name__ == "__main__":
    main()
