"""The learning curve: one row per epoch, kept in memory and said on the terminal."""

import math
import time

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from plugins.datasets.crop_store import CropStore
from plugins.inference import store_outputs
from plugins.metrics import correct_keypoints, distances, mean_labelled

VALIDATION_BATCH = 128


@HOOKS.register_module()
class HistoryHook(Hook):
    """Collects loss, learning rate and validation error of each epoch.

    Attributes:
        rows: dicts of epoch, seconds, learning_rate, loss, val_pck (percent) and
            val_error (input px); the last two are NaN in epochs without validation.

    Args:
        store: validation persons.
        every: epochs between validations; the last epoch always has one.
    """

    priority = "NORMAL"

    def __init__(self, store: CropStore, every: int) -> None:
        self.store, self.every = store, every
        self.rows: list[dict] = []

    def before_train_epoch(self, runner: Runner) -> None:
        """Start the clock."""
        self.started = time.monotonic()
        self.total: torch.Tensor | float = 0.0

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: dict
    ) -> None:
        """Add up the loss on its device, without waiting for it."""
        self.total = self.total + outputs["loss"].detach()

    def after_train_epoch(self, runner: Runner) -> None:
        """Add the epoch's row.

        Raises:
            FloatingPointError: the loss is no longer finite.
        """
        epoch, last = runner.epoch + 1, runner.max_epochs
        loss = float(self.total) / len(runner.train_dataloader)
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"epoch {epoch}: the loss is {loss}; lower schedule.optimizer.lr"
            )
        seconds = time.monotonic() - self.started
        row = {
            "epoch": epoch,
            "seconds": round(seconds, 3),
            "learning_rate": runner.optim_wrapper.get_lr()["lr"][0],
            "loss": loss,
            "val_pck": math.nan,
            "val_error": math.nan,
        }
        if epoch % self.every == 0 or epoch == last:
            model = (
                runner.model.module if is_model_wrapper(runner.model) else runner.model
            )
            row["val_pck"], row["val_error"] = validate(model, self.store)
        self.rows.append(row)
        self._say(row, last, time.monotonic() - self.started)

    def _say(self, row: dict, last: int, seconds: float) -> None:
        left = (last - row["epoch"]) * seconds
        validation = ""
        if math.isfinite(row["val_error"]):
            validation = (
                f"  val PCK {row['val_pck']:.1f} %, error {row['val_error']:.2f} px"
            )
        print(
            f"epoch {row['epoch']}/{last}  loss {row['loss']:.6f}{validation}  "
            f"{seconds:.1f} s, {time.strftime('%H:%M:%S', time.gmtime(left))} left",
            flush=True,
        )


def validate(model: torch.nn.Module, store: CropStore) -> tuple[float, float]:
    """PCK in percent and mean error in input pixels, without flip test."""
    decoded = []
    for _, outputs in store_outputs(model, store, VALIDATION_BATCH, flip_test=False):
        keypoints, _ = model.head.codec.decode_batch(outputs)
        decoded.append(keypoints.cpu().numpy())
    predicted = np.concatenate(decoded)
    error = distances(predicted, store.input_keypoints)
    image = distances(
        store.to_image_pixels(predicted), store.to_image_pixels(store.input_keypoints)
    )
    correct = correct_keypoints(image, store.bbox)
    return 100 * mean_labelled(correct, store.visible), mean_labelled(
        error, store.visible
    )
