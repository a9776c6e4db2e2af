"""``python benchmarks/stock_mmpose.py``: train and evaluate stock MMPose 1.3.2.

The peer of this suite's own training. It takes MMPose's published td-hm HRNet-W32
configs for COCO as the wheel ships them and changes only the data, the size, the
network's width (1.39 M parameters) and the schedule, whose defaults are those of
conf/schedule/quick.yaml:

    python benchmarks/stock_mmpose.py --root FOLDER --codec udp --out results.json

FOLDER holds annotations/train.json, annotations/val.json (COCO format, 17 keypoints)
and their images in train/ and val/. Boxes are the ground truth's; evaluation with flip
test follows the last epoch. The same seed gives the same run on the same machine.
"""

import argparse
import io
import platform
import shlex
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib.metadata import version
from pathlib import Path

# So that it also runs as a script, not only with python -m.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from plugins import mmpose_compat  # noqa: E402

mmpose_compat.install()

import mmpose  # noqa: E402  (MMPose's imports come after the adaptations)
import torch  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.hooks import Hook  # noqa: E402
from mmengine.runner import Runner  # noqa: E402

from plugins.sizes import heatmap_size, parse_size  # noqa: E402
from stages.files import StageError, run_stage, write_json  # noqa: E402

CONFIGS = Path(mmpose.__file__).parent / ".mim/configs/body_2d_keypoint"
CONFIG = "topdown_heatmap/coco/td-hm_hrnet-w32_{}8xb64-210e_coco-256x192.py"
CODECS = {"msra": "", "dark": "dark-", "udp": "udp-"}
"""What the name of MMPose's config says of the codec."""
GAUSSIANS = {128: (1.0, 3), 192: (1.5, 7), 256: (2.0, 11), 384: (3.0, 17)}
"""Sigma in heatmap cells and blur kernel by input height, MMPose's own pairs."""
STATS = {
    "AP": "AP",
    "AP50": "AP .5",
    "AP75": "AP .75",
    "APM": "AP (M)",
    "APL": "AP (L)",
}
STATS |= {"AR": "AR"}
PACKAGES = ("torch", "mmpose", "mmengine", "mmcv-lite", "pycocotools", "numpy")


class Progress(Hook):
    """Prints a line per epoch; keeps the training's seconds and the metrics."""

    def before_train(self, runner: Runner) -> None:
        self.start = time.perf_counter()

    def before_train_epoch(self, runner: Runner) -> None:
        self.losses = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(outputs["loss"].detach())

    def after_train_epoch(self, runner: Runner) -> None:
        loss = torch.stack(self.losses).mean().item()
        self.seconds = time.perf_counter() - self.start
        done, last = runner.epoch + 1, runner.max_epochs
        left = self.seconds / done * (last - done)
        line = f"epoch {done}/{last}  loss {loss:.6f}  {left:.0f} s left"
        print(line, file=sys.stderr, flush=True)

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        self.metrics = metrics


def make_config(args: argparse.Namespace, work_dir: str) -> Config:
    """MMPose's config of the codec, set to the data, the size and the schedule."""
    cfg = Config.fromfile(CONFIGS / CONFIG.format(CODECS[args.codec]))
    sigma, kernel = GAUSSIANS[max(args.input_size[1], min(GAUSSIANS))]
    cfg.codec.update(
        input_size=args.input_size,
        heatmap_size=heatmap_size(args.input_size),
        sigma=sigma,
        blur_kernel_size=kernel,
    )
    cfg.model.head.update(decoder=cfg.codec, in_channels=16)
    narrow(cfg.model.backbone)
    for split in ("train", "val"):
        loader = cfg[f"{split}_dataloader"]
        loader.update(num_workers=args.workers, persistent_workers=args.workers > 0)
        loader.dataset.update(
            data_root=str(args.root),
            ann_file=f"annotations/{split}.json",
            data_prefix=dict(img=f"{split}/"),
            bbox_file=None,
        )
        for step in loader.dataset.pipeline:
            step.update({k: cfg.codec.input_size for k in step if k == "input_size"})
            step.update({k: cfg.codec for k in step if k == "encoder"})
    cfg.train_dataloader.batch_size = args.batch_size
    cfg.val_evaluator.ann_file = str(args.root / "annotations/val.json")
    if args.precision == "bf16":
        # Its accuracy of each batch is NumPy's, which has no bfloat16. Without it stock
        # MMPose is faster: it waits for the GPU once less in every step.
        cfg.model.train_cfg = dict(compute_acc=False)
    # Tensors of workers are open files, one for each of a batch's persons and kinds.
    cfg.env_cfg.resource_limit = 2**20
    cfg.update(schedule(args))
    cfg.update(test_dataloader=None, test_evaluator=None, test_cfg=None)
    cfg.update(work_dir=work_dir, log_level="WARNING", randomness=dict(seed=args.seed))
    cfg.default_hooks.update(checkpoint=None, logger=None)
    return cfg


def narrow(backbone: dict) -> None:
    """Make HRNet-W32 widths 16 to 128, two blocks per branch, without pretraining."""
    del backbone["init_cfg"]
    extra = backbone["extra"]
    extra["stage1"].update(num_blocks=(1,))
    for branches in (2, 3, 4):
        extra[f"stage{branches}"].update(
            num_modules=1,
            num_blocks=(2,) * branches,
            num_channels=(16, 32, 64, 128)[:branches],
        )


def schedule(args: argparse.Namespace) -> dict:
    """Optimizer, linear warm-up and cosine or multi-step decay, one evaluation."""
    optimizer = dict(type=args.optimizer, lr=args.lr, weight_decay=args.weight_decay)
    decay = dict(by_epoch=True, begin=0, end=args.epochs, convert_to_iter_based=True)
    if args.schedule == "cosine":
        decay |= dict(type="CosineAnnealingLR", eta_min=1e-5)
    else:
        # MMPose's 170 and 200 of 210 epochs.
        milestones = [round(args.epochs * part / 210) for part in (170, 200)]
        decay |= dict(type="MultiStepLR", milestones=milestones, gamma=0.1)
    warm_up = dict(type="LinearLR", start_factor=0.01, by_epoch=False, end=args.warm_up)
    train_cfg = dict(by_epoch=True, max_epochs=args.epochs, val_interval=args.epochs)
    wrapper = dict(optimizer=optimizer | dict(fused=True))
    if args.precision == "bf16":  # MMEngine's, which needs a GPU
        wrapper |= dict(type="AmpOptimWrapper", dtype="bfloat16")
    return dict(
        train_cfg=train_cfg,
        optim_wrapper=wrapper,
        param_scheduler=[warm_up, decay] if args.warm_up else [decay],
    )


def check_size(runner: Runner, input_size: tuple[int, int]) -> None:
    """Try the backbone on one empty image.

    Raises:
        StageError: a side is no multiple of 32, so that HRNet's branches do not fit.
    """
    width, height = input_size
    image = torch.zeros(1, 3, height, width).to(next(runner.model.parameters()))
    try:
        with torch.no_grad():
            runner.model.eval().backbone(image)
    except RuntimeError as error:
        raise StageError(
            f"stock MMPose's HRNet cannot run at {height}x{width}, both sides must be "
            f"multiples of 32: {error}"
        ) from error


def check_data(root: Path) -> None:
    """Raise StageError unless the folder has what MMPose will read."""
    for name in ("annotations/train.json", "annotations/val.json", "train", "val"):
        if not (root / name).exists():
            raise StageError(
                f"--root {root}: no {name}; expected a folder in COCO format with "
                "annotations/train.json, annotations/val.json, train/ and val/"
            )


def train(args: argparse.Namespace) -> dict:
    """Train and evaluate; give metrics in percent, the cost and what it ran with."""
    check_data(args.root)
    warnings.filterwarnings("ignore", message="The metainfo config file")
    progress = Progress()
    # pycocotools prints to stdout; progress goes to stderr.
    with tempfile.TemporaryDirectory() as work_dir, redirect_stdout(io.StringIO()):
        runner = Runner.from_cfg(make_config(args, work_dir))
        check_size(runner, args.input_size)
        runner.register_hook(progress)
        persons = len(runner.train_loop.dataloader.dataset)
        runner.train()
    found = {name: progress.metrics[f"coco/{stat}"] for name, stat in STATS.items()}
    packages = [f"{name}={version(name)}" for name in PACKAGES]
    return {
        # pycocotools gives -1 where no person is of that size.
        **{name: round(100 * v, 3) if v >= 0 else None for name, v in found.items()},
        "train_seconds": round(progress.seconds, 1),
        "train_images_per_second": round(args.epochs * persons / progress.seconds, 1),
        "train_persons": persons,
        "parameters": sum(p.numel() for p in runner.model.parameters()),
        "codec": args.codec,
        "size": args.size,
        "seed": args.seed,
        "device": str(next(runner.model.parameters()).device),
        "threads": torch.get_num_threads(),
        "command": shlex.join(["python", *sys.argv]),
        "versions": " ".join([f"python={platform.python_version()}", *packages]),
    }


def at_least(least: int) -> Callable[[str], int]:
    """Make an argparse type: a whole number of at least ``least``."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            message = f"expected a whole number of at least {least}, got {text!r}"
            raise argparse.ArgumentTypeError(message)
        return int(text)

    return parse


def parse_arguments() -> argparse.Namespace:
    """Read the command line; exits with a message where it is wrong."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    add = parser.add_argument
    add("--root", type=Path, required=True, help="folder in COCO format")
    add("--size", default="128x96", help="HEIGHTxWIDTH in pixels (128x96)")
    add("--codec", choices=CODECS, default="msra")
    add("--epochs", type=at_least(1), default=10)
    add("--batch-size", type=at_least(1), default=32, help="of training (32)")
    add("--seed", type=at_least(0), default=0)
    add("--workers", type=at_least(0), default=2, help="of each data loader (2)")
    add("--optimizer", choices=("AdamW", "Adam"), default="AdamW")
    add("--lr", type=float, default=0.003)
    add("--weight-decay", type=float, default=0.01)
    add("--schedule", choices=("cosine", "multistep"), default="cosine")
    add("--precision", choices=("fp32", "bf16"), default="fp32")
    add("--warm-up", type=at_least(0), default=60, help="iterations (60)")
    add("--out", type=Path, help="JSON file to write the results to")
    args = parser.parse_args()
    if not (args.lr > 0 and args.weight_decay >= 0):
        parser.error("--lr must be above 0 and --weight-decay at least 0")
    try:
        args.input_size = parse_size(args.size)
    except ValueError as error:
        parser.error(str(error))
    if max(args.input_size[1], min(GAUSSIANS)) not in GAUSSIANS:
        known = ", ".join(map(str, GAUSSIANS))
        parser.error(f"--size {args.size}: height must be below 128 or one of {known}")
    return args


def main() -> None:
    """Train, evaluate, print and write the results."""
    args = parse_arguments()
    results = train(args)
    for name, value in results.items():
        print(f"{name}: {value}")
    if args.out:
        write_json(args.out, results)


if __name__ == "__main__":
    run_stage(main)
