"""Training and evaluation speed beside stock MMPose: same photos, network, batch.

Per size, each measured in a process of its own, one after the other:

* ours: `stages.train` as it is, reading the crop store that downsample wrote, and in
  turns with it, for a busy machine to meet both alike, the bare network step (forward,
  backward, optimizer of a second network) on random input;
* stock: MMPose's own pipeline, loader, targets and loss around the same network, with
  each number of workers that is asked for. (It takes no turns: its workers would go on
  meanwhile.)

Time runs from the end of the warm-up to the end of the last epoch, with everything in
between that a user waits for but validation. Its share beyond the bare step is data's:
loading, augmentation and targets; with stock MMPose also its memory layout. Evaluation
is the flip test and decoding of all persons, with MMPose's in batches of its configs.
Our peak memory has the second network in it.

    python benchmarks/training.py --root FOLDER --out training.json

FOLDER is in COCO format: annotations/train.json, annotations/val.json, train/, val/.
Its annotations are repeated until an epoch has --persons of them.
"""

import argparse
import contextlib
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from plugins import mmpose_compat  # noqa: E402

mmpose_compat.install()

import torch  # noqa: E402  (MMPose's imports come after the adaptations)
from mmengine.hooks import Hook  # noqa: E402
from mmengine.runner import Runner  # noqa: E402

from benchmarks.stock_mmpose import make_config  # noqa: E402
from plugins.codecs import build_codec  # noqa: E402
from plugins.datasets.crop_store import CropStore  # noqa: E402
from plugins.datasets.prepared import open_truth  # noqa: E402
from plugins.inference import store_outputs  # noqa: E402
from plugins.model import build_model  # noqa: E402
from plugins.sizes import heatmap_size, parse_size  # noqa: E402
from plugins.step import build_optimizer, prepare_model  # noqa: E402
from stages.downsample import downsample  # noqa: E402
from stages.files import StageError, run_stage  # noqa: E402
from stages.memory import keep_freed_memory  # noqa: E402
from stages.plan import plan  # noqa: E402
from stages.prepare import prepare  # noqa: E402
from stages.train import SAVE_SECONDS, make_runner  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
WARM_UP = 0.34
"""Share of the iterations before the clock starts."""
TURN = 32 if DEVICE == "cuda" else 8
"""Steps of the training, and then of the bare network; a GPU is waited for between."""
DATA = "bench"


class Clock(Hook):
    """Seconds of a training after its warm-up, validation excluded.

    Args:
        first, last: iterations between which it runs.
        bare: a bare step; as many of these take turns with the training's own.
    """

    priority = "VERY_HIGH"

    def __init__(
        self, first: int, last: int, bare: Callable[[], None] | None = None
    ) -> None:
        self.first, self.last, self.bare = first, last, bare
        self.seconds = self.bare_seconds = 0.0
        self.turn_began = first

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        done = runner.iter + 1
        if done == self.first:
            self.started = moment()
        turn = done - self.turn_began
        if done == self.last or (self.bare and turn == TURN):
            now = moment()
            self.seconds += now - self.started
            for _ in range(turn if self.bare else 0):
                self.bare()
            self.turn_began, self.started = done, moment()
            self.bare_seconds += self.started - now


def moment() -> float:
    """Seconds of the clock, once the GPU, if there is one, is done."""
    synchronise()
    return time.perf_counter()


def synchronise() -> None:
    """Wait for the GPU, if there is one."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def repeat_annotations(root: Path, persons: int, folder: Path) -> None:
    """Write train.json and val.json with at least so many persons into ``folder``."""
    for split in ("train", "val"):
        coco = json.loads((root / f"annotations/{split}.json").read_text())
        known = [
            a for a in coco["annotations"]
            if not a.get("iscrowd") and sum(v > 0 for v in a["keypoints"][2::3])
        ]  # fmt: skip
        if not known:
            raise StageError(f"{root}: {split} has no person with a labelled keypoint")
        times = -(-persons // len(known))
        coco["annotations"] = [
            annotation | {"id": 1 + turn * len(known) + index}
            for turn in range(times)
            for index, annotation in enumerate(known)
        ]
        (folder / f"{split}.json").write_text(json.dumps(coco))


def prepare_data(root: Path, persons: int, sizes: list[str], folder: Path) -> None:
    """Prepared dataset and crop stores in ``folder``, which becomes the working one."""
    (folder / "annotations").mkdir()
    repeat_annotations(root, persons, folder / "annotations")
    for split in ("train", "val"):
        (folder / split).symlink_to((root / split).resolve())
    os.chdir(folder)
    splits = {
        split: {
            "annotations": f"annotations/{split}.json",
            "images": str((root / split).resolve()),
        }
        for split in ("train", "val")
    }
    settings = {"name": DATA, "source": "coco_dir", "root": ".", "strict": False}
    prepare(settings | splits, Path("data") / DATA)
    for size in sizes:
        (store,) = plan(["grid=single", f"size={size}"])["stores"].values()
        downsample(store | {"data": DATA}, Path(f"data/stores/{DATA}-{size}"))


def cell_settings(args: SimpleNamespace) -> dict:
    """``train`` settings of the cell that is measured, without validation."""
    chosen = [f"size={args.size}", f"backbone={args.backbone}", "method=udp"]
    chosen += [f"schedule.{choice}" for choice in args.schedule]
    chosen += [f"schedule.epochs={args.epochs}", "schedule.validate_every=1000"]
    chosen += [f"schedule.batch_size={args.batch_size}"]
    (cell,) = plan(["grid=single", *chosen])["cells"].values()
    return cell["train"]


def bare_step(settings: dict, store: CropStore) -> Callable[[], None]:
    """What does forward, backward and optimizer of a network on random input."""
    schedule, geometry = settings["schedule"], store.geometry
    model = build_model(settings, store.keypoint_set, geometry)
    prepare_model(model, schedule)
    model.to(DEVICE).train()
    optimizer = build_optimizer(model, schedule, DEVICE)
    (width, height), persons = geometry.input_size, schedule["batch_size"]
    inputs = torch.randn(persons, 3, height, width, device=DEVICE)
    columns, rows = heatmap_size((width, height))
    shape = (persons, len(store.keypoint_set), rows, columns)
    target = torch.rand(*shape, device=DEVICE)

    def step() -> None:
        with optimizer.optim_context(model):
            found = model(inputs, None, mode="tensor")["heatmaps"]
        loss = (found.float() - target).square().mean()
        optimizer.update_params(loss)

    return step


def timed(
    runner: Runner, batch_size: int, bare: Callable[[], None] | None = None
) -> dict:
    """Train to the end; images per second after the warm-up, also of a bare step."""
    total = runner.max_iters
    clock = Clock(max(1, int(WARM_UP * total)), total, bare)
    runner.register_hook(clock)
    for _ in range(clock.first if bare else 0):
        bare()
    runner.train()
    images = (clock.last - clock.first) * batch_size
    found = {"images_per_s": images / clock.seconds}
    return found | ({"step_per_s": images / clock.bare_seconds} if bare else {})


def measure_ours(args: SimpleNamespace) -> dict:
    """Training by stages.train, then evaluation of val."""
    store = Path(f"data/stores/{DATA}-{args.size}")
    training, validation = CropStore(store / "train"), CropStore(store / "val")
    keep_freed_memory()  # as stages.train does
    # Seconds of which half are the bare step's.
    os.environ[SAVE_SECONDS] = "20"
    with tempfile.TemporaryDirectory() as scratch:
        settings = cell_settings(args)
        truth = open_truth(Path("data") / DATA)
        runner, _ = make_runner(
            settings, training, validation, truth, None, Path(scratch)
        )
        bare = bare_step(settings, validation)
        found = timed(runner, args.batch_size, bare)
    codec = build_codec("udp", parse_size(args.size))
    model, started = runner.model, time.perf_counter()
    for _, outputs in store_outputs(model, validation, 128, flip_test=True):
        codec.decode_batch(outputs)[0].cpu()
    seconds = time.perf_counter() - started
    return found | {"evaluated_per_s": len(validation) / seconds}


def measure_stock(args: SimpleNamespace) -> dict:
    """MMPose's pipeline around the same network; evaluation without its metric."""
    warnings.filterwarnings("ignore")
    settings = cell_settings(args)
    schedule = settings["schedule"]
    options = SimpleNamespace(
        root=Path(), size=args.size, codec="udp", epochs=args.epochs, seed=0,
        batch_size=args.batch_size, workers=args.workers, input_size=args.input_size,
        optimizer=schedule["optimizer"]["type"], lr=schedule["optimizer"]["lr"],
        weight_decay=schedule["optimizer"]["weight_decay"], schedule="cosine",
        warm_up=60, precision=schedule["precision"],
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        config = make_config(options, scratch)
        store = CropStore(Path(f"data/stores/{DATA}-{args.size}/val"))
        own = build_model(settings, store.keypoint_set, store.geometry)
        config.model.head.in_channels = own.head.maps.final_layer.in_channels
        if settings["backbone"]["deconvolution"]:
            upsampling = settings["backbone"]["deconvolution"]
            config.model.head.deconv_out_channels = upsampling
            config.model.head.deconv_kernel_sizes = [4] * len(upsampling)
            config.model.head.in_channels = own.head.maps.deconv_layers[0].in_channels
        config.train_cfg.val_interval = 1000
        runner = Runner.from_cfg(config)
        # The network itself is no peer: at 64x48 MMPose's HRNet does not run, and its
        # ResNet with deconvolution gives maps of 16x16 instead of 16x12.
        runner.model.backbone = own.backbone.to(DEVICE)
        cut_maps(runner.model.head, heatmap_size(args.input_size))
        found = timed(runner, args.batch_size)
        runner.model.eval()
        persons, started = 0, time.perf_counter()
        with torch.no_grad():
            for batch in runner.val_loop.dataloader:
                persons += len(runner.model.val_step(batch))
        seconds = time.perf_counter() - started
    return found | {"evaluated_per_s": persons / seconds, "workers": args.workers}


def cut_maps(head: torch.nn.Module, size: tuple[int, int]) -> None:
    """Have a head of MMPose give maps ``(w, h)``, aligned at the top left."""
    forward, (columns, rows) = head.forward, size
    head.forward = lambda features: forward(features)[..., :rows, :columns]


MEASUREMENTS = {"ours": measure_ours, "stock": measure_stock}


def run_measurement(arguments: argparse.Namespace, what: str, **extra) -> dict:
    """Run one measurement in a process of its own.

    Raises:
        StageError: it failed.
    """
    asked = dict(
        what=what, backbone=arguments.backbone, batch_size=arguments.batch_size,
        epochs=arguments.epochs, persons=arguments.persons,
        schedule=arguments.schedule or [],
    ) | extra  # fmt: skip
    asked["input_size"] = parse_size(asked["size"])
    command = [sys.executable, str(Path(__file__).resolve()), "--measure"]
    done = subprocess.run(
        [*command, json.dumps(asked)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise StageError(f"{what} {extra}: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(asked: dict) -> None:
    """What the process of one measurement does: print its figures as JSON."""
    args = SimpleNamespace(**asked)
    args.input_size = tuple(args.input_size)
    with contextlib.redirect_stdout(io.StringIO()):
        found = MEASUREMENTS[args.what](args)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    found["peak_memory_mb"] = own / 1024
    found["largest_worker_mb"] = worker / 1024
    if DEVICE == "cuda":
        found["peak_gpu_mb"] = torch.cuda.max_memory_allocated() / 2**20
    print(json.dumps(found))


def compare(arguments: argparse.Namespace, size: str) -> dict:
    """All figures of one size; of several rounds the fastest of each."""
    found: dict[str, dict] = {}
    for _ in range(arguments.rounds):
        turns = {"ours": {}} | {f"stock {n}": {"workers": n} for n in arguments.workers}
        for name, extra in turns.items():
            result = run_measurement(arguments, name.split()[0], size=size, **extra)
            print(f"{size} {name}: {result['images_per_s']:.0f} images/s", flush=True)
            before = found.get(name, {"images_per_s": 0})
            found[name] = max(before, result, key=lambda r: r["images_per_s"])
    stock = max(
        (r for name, r in found.items() if name.startswith("stock")),
        key=lambda r: r["images_per_s"],
    )
    step, ours = found["ours"]["step_per_s"], found["ours"]["images_per_s"]
    found = {"step": {"images_per_s": step}} | found
    found["ratios"] = {
        "training, ours / stock": ours / stock["images_per_s"],
        "training, ours / bare step": ours / step,
        "share beyond the bare step, ours": 1 - ours / step,
        "share beyond the bare step, stock": 1 - stock["images_per_s"] / step,
        "evaluation, ours / stock": found["ours"]["evaluated_per_s"]
        / stock["evaluated_per_s"],
        "stock's best workers": stock["workers"],
    }
    return found


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    add = parser.add_argument
    add("--measure", help=argparse.SUPPRESS)
    add("--root", type=Path, help="folder in COCO format")
    add("--sizes", nargs="+", default=["64x48", "128x96", "256x192"])
    add("--backbone", default="hrnet_micro", help="of conf/backbone (hrnet_micro)")
    add(
        "--schedule", nargs="*", help="settings of the schedule, such as precision=bf16"
    )
    add("--batch-size", type=int, default=32)
    add("--persons", type=int, default=2048, help="in an epoch, at least (2048)")
    add("--epochs", type=int, default=3)
    add("--rounds", type=int, default=1, help="of which the fastest counts (1)")
    cores = len(os.sched_getaffinity(0))
    workers = sorted({0, 1, 2, cores, max(1, cores - 2)} if cores < 8 else {12, 16})
    add("--workers", type=int, nargs="+", default=workers, help="of stock MMPose")
    add("--out", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    if not arguments.measure and arguments.root is None:
        parser.error("--root FOLDER is missing: a folder in COCO format")
    return arguments


def main() -> None:
    """Measure all sizes, print the ratios and write the figures."""
    arguments = parse_arguments()
    if arguments.measure:
        measure(json.loads(arguments.measure))
        return
    out = arguments.out.resolve() if arguments.out else None
    root = arguments.root.resolve()
    with tempfile.TemporaryDirectory() as folder:
        prepare_data(root, arguments.persons, arguments.sizes, Path(folder))
        found = {size: compare(arguments, size) for size in arguments.sizes}
    names = list(found[arguments.sizes[0]]["ratios"])
    print(f"{'':30}" + "".join(f"{size:>12}" for size in found))
    for name in names:
        row = "".join(f"{f['ratios'][name]:12.2f}" for f in found.values())
        print(f"{name:30}{row}")
    if out:
        out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    run_stage(main)
