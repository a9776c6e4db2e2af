"""Index batches and the random draws of augmentation.

Order and draws depend on (seed, epoch, sample) alone: never on the batch size, on the
method or on which process reads a sample. So all methods see the same people in the
same poses, and a resumed run goes on exactly where it stopped.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from plugins.datasets.cache import hold, send
from plugins.datasets.crop_store import CropStore

DRAWS = (
    "flip", "half_body", "upper_body", "scale", "rotate", "angle",
    "shift", "shift_x", "shift_y", "brightness", "contrast", "saturation",
)  # fmt: skip
"""One uniform number each per person and epoch."""


def epoch_generator(seed: int, epoch: int, purpose: int) -> np.random.Generator:
    """Random numbers of one purpose (0 order, 1 augmentation) in one epoch."""
    return np.random.Generator(np.random.Philox(key=[seed, 2 * epoch + purpose]))


class EpochBatches(Sampler):
    """Shuffled batches ``(epoch, rows)``; the last, incomplete one is left out.

    Attributes:
        done: leading batches of this epoch that are left out, for a training that goes
            on after them; 0 again in the next epoch.

    Args:
        length: number of persons.
        batch_size: persons in a batch.
        seed: of the order.
        process: which of ``processes`` this is; it gets its slice of every batch.

    Raises:
        ValueError: too few persons for one batch, or slices of different lengths.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        seed: int,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        if length < batch_size:
            raise ValueError(f"{length} persons do not fill a batch of {batch_size}")
        if batch_size % processes:
            raise ValueError(
                f"a batch of {batch_size} persons cannot be shared evenly by "
                f"{processes} processes; change torchrun's --nproc-per-node or "
                "schedule.batch_size"
            )
        self.length, self.batch_size, self.seed = length, batch_size, seed
        share = batch_size // processes
        self.slice = slice(process * share, (process + 1) * share)
        self.epoch = self.done = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by MMEngine's DistSamplerSeedHook before each epoch."""
        self.epoch, self.done = epoch, 0

    def __len__(self) -> int:
        return self.length // self.batch_size

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        order = epoch_generator(self.seed, self.epoch, 0).permutation(self.length)
        for batch in range(self.done, len(self)):
            start = batch * self.batch_size
            yield self.epoch, order[start : start + self.batch_size][self.slice]


class TrainingCrops(Dataset):
    """Batches of crops with their keypoints and augmentation draws.

    Indexed by ``(epoch, rows)``; gives ``crops (B, H, W, 3)`` uint8, ``keypoints
    (B, K, 2)`` in input pixels, ``visible (B, K)``, ``box (B, 2)`` (the padded box's
    share of the input along each axis) and ``draws (B, len(DRAWS))``: on the device
    with ``cache="device"``, else in memory.

    Args:
        store: crops and labels of the persons.
        seed: of the draws.
        cache: none, host or device; see ``choose_cache``.
        device: that trains.
    """

    metainfo: dict = {}

    def __init__(
        self,
        store: CropStore,
        seed: int,
        cache: str = "none",
        device: torch.device | str = "cpu",
    ) -> None:
        self.seed, self.cache, self.device = seed, cache, torch.device(device)
        self.crops = hold(store.crops, cache, self.device)
        self.place = self.device if cache == "device" else torch.device("cpu")
        self.keypoints = torch.from_numpy(store.input_keypoints).float().to(self.place)
        self.visible = torch.from_numpy(store.visible).to(self.place)
        self.box = torch.from_numpy(store.padded_share).float().to(self.place)
        self._draws: tuple[int, torch.Tensor] = (-1, torch.empty(0))

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, item: tuple[int, np.ndarray]) -> dict[str, torch.Tensor]:
        epoch, rows = item
        index = torch.from_numpy(rows)
        if self.cache == "device":
            index = send(index, self.device).to(self.device, non_blocking=True)
            crops = self.crops[index]
        else:
            crops = torch.from_numpy(np.asarray(self.crops[rows]))
        batch = {
            "crops": crops,
            "keypoints": self.keypoints[index],
            "visible": self.visible[index],
            "box": self.box[index],
            "draws": self._epoch_draws(epoch)[index],
        }
        if self.cache == "device":
            return batch
        return {name: send(values, self.device) for name, values in batch.items()}

    def _epoch_draws(self, epoch: int) -> torch.Tensor:
        if self._draws[0] != epoch:
            generator = epoch_generator(self.seed, epoch, 1)
            draws = generator.random((len(self), len(DRAWS)), dtype=np.float32)
            self._draws = (epoch, torch.from_numpy(draws).to(self.place))
        return self._draws[1]
