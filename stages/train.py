"""``python -m stages.train CELL``: train one cell of params.yaml.

MMEngine's Runner trains MMPose's top-down estimator. A killed training goes on from its
last saved state, at most TRAIN_SAVE_SECONDS (10) old, which lies in .work/ under the
hash of everything that it depends on, so that a changed setting starts anew.

``torchrun --nproc-per-node 4 -m stages.train CELL`` trains it on four GPUs, to the same
result: they share every batch.
"""

import argparse
import contextlib
import csv
import os
from pathlib import Path

from plugins import mmpose_compat

mmpose_compat.install()

import torch  # noqa: E402  (MMPose's imports come after the adaptations)
from mmengine.device import get_device  # noqa: E402
from mmengine.dist import get_dist_info, is_distributed, is_main_process  # noqa: E402
from mmengine.runner import Runner, set_random_seed  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from plugins.datasets.augment import AugmentSettings  # noqa: E402
from plugins.datasets.batches import EpochBatches  # noqa: E402
from plugins.datasets.cache import choose_cache  # noqa: E402
from plugins.datasets.crop_store import CropStore  # noqa: E402
from plugins.datasets.prepared import open_truth  # noqa: E402
from plugins.datasets.training_crops import TrainingCrops  # noqa: E402
from plugins.distributed import distribute, launched, unwrapped  # noqa: E402
from plugins.hooks.history import HistoryHook  # noqa: E402
from plugins.hooks.resume import ResumeHook  # noqa: E402
from plugins.hooks.start import ProgressHook, StartHook  # noqa: E402
from plugins.hooks.states import save_checkpoint  # noqa: E402
from plugins.model import build_model  # noqa: E402
from plugins.step import build_optimizer, prepare_model  # noqa: E402
from stages.files import (  # noqa: E402
    StageError,
    hash_of,
    hash_of_file,
    load_params,
    run_stage,
)
from stages.finished import copy_finished, finishing, is_finished  # noqa: E402
from stages.locks import only_one  # noqa: E402
from stages.memory import keep_freed_memory  # noqa: E402

SCRATCH = Path(".work/train")
SAVE_SECONDS = "TRAIN_SAVE_SECONDS"
"""Environment variable: seconds between two saved states, which no result depends on.

A state of the smallest network takes 60 to 110 ms to write: 1 % of ten seconds.
"""


def train(key: str, settings: dict, data: Path, store: Path, folder: Path) -> None:
    """Train a cell and write ``checkpoint.pth`` and ``history.csv`` into ``folder``.

    Args:
        key: of the cell.
        settings: its ``train`` settings.
        data: folder of the prepared dataset.
        store: folder of the crop store that was made from it.
        folder: for the results, whole or not at all.

    Raises:
        StageError: unreadable data or store, a store of other data, unknown plugin, a
            second training of this cell.
    """
    try:
        stores = CropStore(store / "train"), CropStore(store / "val")
        truth = open_truth(data, data_hash=stores[1].data_hash)
        start, data_hash = find_start(settings["init"]), stores[0].data_hash
        scratch = SCRATCH / f"{key}-{run_hash(settings, data_hash, start)}"
        first = is_main_process()
        with lock_cell(key) if first else contextlib.nullcontext():
            if not is_finished(scratch):
                runner, history = make_runner(settings, *stores, truth, start, scratch)
                runner.train()
                if first:
                    made_from = {"key": key, "config_hash": hash_of(settings)}
                    made_from["data_hash"] = data_hash
                    with finishing(scratch) as aside:
                        write_history(history.rows, aside / "history.csv")
                        save_weights(runner.model, made_from, aside / "checkpoint.pth")
            if first:
                copy_finished(scratch, folder)
    except (ValueError, TypeError, FloatingPointError) as error:
        raise StageError(f"{key}: {error}") from error


def lock_cell(key: str) -> contextlib.AbstractContextManager:
    """One training of a cell at a time."""
    message = f"{key}: another process is training this cell"
    return only_one(SCRATCH / f"{key}.lock", message)


def find_start(init: dict) -> Path | None:
    """The checkpoint that a cell starts from; None: from scratch.

    Raises:
        StageError: it does not exist.
    """
    if init["from"] == "none":
        return None
    for path in (Path("runs") / init["from"] / "checkpoint.pth", Path(init["from"])):
        if path.is_file():
            return path
    raise StageError(
        f"init={init['from']}: neither a trained cell in runs/ nor a file; train that "
        "cell first: dvc repro does"
    )


def make_runner(
    settings: dict,
    training: CropStore,
    validation: CropStore,
    truth: dict,
    start: Path | None,
    scratch: Path,
) -> tuple[Runner, HistoryHook]:
    """MMEngine's Runner for a cell, and the hook that keeps its learning curve."""
    schedule, seed = settings["schedule"], settings["seed"]
    # The Runner seeds too, but after the network's layers have drawn their weights.
    set_random_seed(seed)
    model = build_model(settings, training.keypoint_set, training.geometry)
    prepare_model(model, schedule)
    device = torch.device(get_device())
    processes = get_dist_info()
    batches = EpochBatches(len(training), schedule["batch_size"], seed, *processes)
    cache = choose_cache(settings["cache"], training.crops.nbytes, device)
    if is_main_process():
        print(f"cache {cache}: {len(training)} crops, {training.crops.nbytes:,} bytes")
    augment = AugmentSettings(**settings["augment"])
    crops = TrainingCrops(training, seed, augment, cache, device)
    history = HistoryHook(validation, truth, schedule["validate_every"])
    runner = Runner(
        model=distribute(model),
        launcher="pytorch" if is_distributed() else "none",
        work_dir=str(scratch),
        experiment_name=scratch.name,
        train_dataloader=DataLoader(crops, sampler=batches, batch_size=None),
        train_cfg=dict(by_epoch=True, max_epochs=schedule["epochs"]),
        optim_wrapper=build_optimizer(model, schedule, device.type),
        param_scheduler=schedule["param_scheduler"] or None,
        # Its own runtime_info reads the loss in every step, and the device waits.
        default_hooks=dict(checkpoint=None, logger=None, runtime_info=None, timer=None),
        custom_hooks=[
            StartHook(start, settings["init"]["part"]),
            ProgressHook(),
            history,
            ResumeHook(scratch, history, float(os.environ.get(SAVE_SECONDS, 10))),
        ],
        randomness=dict(seed=seed),
        log_level="WARNING",
    )
    return runner, history


def run_hash(settings: dict, data_hash: str, start: Path | None) -> str:
    """Hash of settings, data, start and code: what a saved state may go on with."""
    code = [*Path("plugins").rglob("*.py"), Path(__file__)]
    hashes = [hash_of_file(path) for path in sorted(code)]
    weights = hash_of_file(start) if start else None
    return hash_of([settings, data_hash, weights, hashes])


def save_weights(model: torch.nn.Module, made_from: dict, path: Path) -> None:
    """Write a checkpoint: the weights, and what they were trained with."""
    weights = {"state_dict": unwrapped(model).state_dict()}
    save_checkpoint(made_from | weights, path)


def write_history(rows: list[dict], path: Path) -> None:
    """Write the learning curve as CSV."""
    with open(path, "w", newline="") as handle:
        writer = csv.DictWriter(handle, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    """Train one cell into runs/CELL."""
    parser = argparse.ArgumentParser(prog="stages.train", description=__doc__)
    parser.add_argument("cell", help="key of params.yaml under cells")
    key = parser.parse_args().cell
    keep_freed_memory()
    try:
        with launched():
            cell = load_params("cells", key)
            data, store = (
                Path("data") / cell["data"],
                Path("data/stores") / cell["store"],
            )
            train(key, cell["train"], data, store, Path("runs") / key)
    except ValueError as error:
        raise StageError(str(error)) from error


if __name__ == "__main__":
    run_stage(main)
