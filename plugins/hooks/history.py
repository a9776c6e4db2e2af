"""The learning curve: one row per epoch, kept in memory and said on the terminal."""

import math
import time

import torch
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from plugins.datasets.crop_store import CropStore
from plugins.distributed import global_sum, unwrapped
from plugins.hooks.validation import validate


@HOOKS.register_module()
class HistoryHook(Hook):
    """Collects loss, learning rate and validation error of each epoch.

    Where several processes train, the first one validates while the others wait, and
    it alone knows the validation error; the loss is the mean of all of them.

    Attributes:
        rows: dicts of epoch, seconds, learning_rate, loss, val_ap and val_pck (percent)
            and val_error (input px); the last three are NaN in epochs without
            validation.

    Args:
        store: validation persons.
        truth: what COCO's evaluation compares them with, of ``open_truth``.
        every: epochs between validations; the last epoch always has one.
    """

    priority = "NORMAL"

    def __init__(self, store: CropStore, truth: dict, every: int) -> None:
        self.store, self.truth, self.every = store, truth, every
        self.rows: list[dict] = []

    def before_train_epoch(self, runner: Runner) -> None:
        """Start the clock."""
        self.started = time.monotonic()
        self.total: torch.Tensor | float = 0.0

    def so_far(self) -> dict:
        """What a saved state needs to go on inside an epoch."""
        seconds = time.monotonic() - self.started
        return {"loss": self.total.cpu(), "seconds": seconds}

    def go_on(self, runner: Runner, so_far: dict) -> None:
        """Take over from there, after ``before_train_epoch``."""
        device = next(runner.model.parameters()).device
        self.total = so_far["loss"].to(device)
        self.started -= so_far["seconds"]

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: dict
    ) -> None:
        """Add up the loss on its device, without waiting for it."""
        self.total = self.total + outputs["loss"].detach()

    def after_train_epoch(self, runner: Runner) -> None:
        """Add the epoch's row.

        Raises:
            FloatingPointError: the loss or a weight is no longer finite.
        """
        epoch, last = runner.epoch + 1, runner.max_epochs
        batches = len(runner.train_dataloader) * get_world_size()
        loss = float(global_sum(self.total)) / batches
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"epoch {epoch}: the loss is {loss}; lower schedule.optimizer.lr"
            )
        check_weights(unwrapped(runner.model), epoch)
        seconds = time.monotonic() - self.started
        row = {
            "epoch": epoch,
            "seconds": round(seconds, 3),
            "learning_rate": runner.optim_wrapper.get_lr()["lr"][0],
            "loss": loss,
            "val_ap": math.nan,
            "val_pck": math.nan,
            "val_error": math.nan,
        }
        self.rows.append(row)
        if not is_main_process():
            return
        if epoch % self.every == 0 or epoch == last:
            model = unwrapped(runner.model)
            row |= validate(model, self.store, self.truth)
        self._say(row, last, time.monotonic() - self.started)

    def _say(self, row: dict, last: int, seconds: float) -> None:
        left = (last - row["epoch"]) * seconds
        validation = ""
        if math.isfinite(row["val_error"]):
            validation = (
                f"  val AP {row['val_ap']:.1f} %, PCK {row['val_pck']:.1f} %, "
                f"error {row['val_error']:.2f} px"
            )
        print(
            f"epoch {row['epoch']}/{last}  loss {row['loss']:.6f}{validation}  "
            f"{seconds:.1f} s, {time.strftime('%H:%M:%S', time.gmtime(left))} left",
            flush=True,
        )


def check_weights(model: torch.nn.Module, epoch: int) -> None:
    """Find what a gradient that was not finite leaves: weights that never are again.

    Once an epoch, for a look at the gradients themselves would make the device wait in
    every step.

    Raises:
        FloatingPointError: names the first such weight.
    """
    for name, weights in model.named_parameters():
        if not weights.isfinite().all():
            raise FloatingPointError(
                f"epoch {epoch}: a gradient of {name} was not finite; lower "
                "schedule.optimizer.lr, or train with schedule.precision=fp32"
            )
