"""What CAL's density of the coarse error costs a training step.

Whole training steps (augmentation, targets, network, loss, density, optimizer) of CAL
with each of its weightings on the same random crops, in turns; the median of each, as a
ratio to ``disc``, which fits nothing.

    python benchmarks/cal.py --out cal.json
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

from plugins.datasets.augment import DRAWS  # noqa: E402
from plugins.datasets.crop_store import CropGeometry  # noqa: E402
from plugins.datasets.keypoint_sets import COCO17  # noqa: E402
from plugins.model import build_model  # noqa: E402
from plugins.step import build_optimizer, prepare_model  # noqa: E402
from stages.downsample import make_geometry  # noqa: E402
from stages.plan import plan  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
VARIANTS = {
    "disc": ("weighting=disc",),
    "gt": ("weighting=gt",),
    "pred": ("weighting=pred",),
    "gmm, 1 Gaussian": ("weighting=gmm", "components=1"),
    "gmm, 3 Gaussians": ("weighting=gmm", "components=3"),
    "gmm, 5 Gaussians": ("weighting=gmm", "components=5"),
    "flow": ("weighting=flow",),
}


def random_batch(geometry: CropGeometry, count: int) -> dict[str, torch.Tensor]:
    """What ``TrainingCrops`` gives, of noise."""
    generator = torch.Generator().manual_seed(0)
    crop, size = geometry.crop_size, torch.tensor(geometry.input_size)
    keypoints = torch.rand((count, len(COCO17), 2), generator=generator) * (size - 1)
    batch = {
        "crops": torch.randint(
            0, 256, (count, crop[1], crop[0], 3), dtype=torch.uint8, generator=generator
        ),
        "keypoints": keypoints,
        "visible": torch.full((count, len(COCO17)), 2, dtype=torch.uint8),
        "draws": torch.rand((count, len(DRAWS)), generator=generator),
    }
    return {name: values.to(DEVICE) for name, values in batch.items()}


def make_step(args: argparse.Namespace, changes: tuple[str, ...]) -> Callable:
    """One training step of CAL, beyond its warm-up."""
    chosen = [f"size={args.size}", f"backbone={args.backbone}", "method=cal"]
    chosen += [f"method.loss.{change}" for change in ("warmup=0", *changes)]
    planned = plan(["grid=single", *chosen])
    (cell,) = planned["cells"].values()
    settings = cell["train"]
    geometry = make_geometry(planned["stores"][cell["store"]])
    torch.manual_seed(0)
    model = build_model(settings, COCO17, geometry)
    prepare_model(model, settings["schedule"])
    model.to(DEVICE).train()
    optimizer = build_optimizer(model, settings["schedule"], DEVICE)
    batch = random_batch(geometry, args.batch_size)
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
    add("--steps", type=int, default=150, help="of each, after ten that do not count")
    add("--out", type=Path, help="JSON file for the figures")
    args = parser.parse_args()
    steps = {name: make_step(args, changes) for name, changes in VARIANTS.items()}
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(-10, args.steps):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            if DEVICE == "cuda":
                torch.cuda.synchronize()
            if number >= 0:
                taken[name].append(time.perf_counter() - started)
    found = {name: 1000 * statistics.median(values) for name, values in taken.items()}
    for name, milliseconds in found.items():
        ratio = milliseconds / found["disc"]
        print(f"{name:20}{milliseconds:8.1f} ms{ratio:8.3f}", flush=True)
    if args.out:
        figures = {"size": args.size, "batch": args.batch_size, "milliseconds": found}
        args.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
