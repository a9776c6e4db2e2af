"""Index batches and the random draws of augmentation.

Order and draws depend on (seed, epoch, sample) alone: never on the batch size, on the
method or on which process reads a sample. So all methods see the same people in the
same poses, and a resumed run goes on exactly where it stopped.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from plugins.datasets.crop_store import CropStore

DRAWS = ("flip", "half_body", "upper_body", "scale", "rotate", "angle")
"""One uniform number each per person and epoch."""


def epoch_generator(seed: int, epoch: int, purpose: int) -> np.random.Generator:
    """Random numbers of one purpose (0 order, 1 augmentation) in one epoch."""
    return np.random.Generator(np.random.Philox(key=[seed, 2 * epoch + purpose]))


class EpochBatches(Sampler):
    """Shuffled batches ``(epoch, rows)``; the last, incomplete one is left out."""

    def __init__(self, length: int, batch_size: int, seed: int) -> None:
        if length < batch_size:
            raise ValueError(f"{length} persons do not fill a batch of {batch_size}")
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by MMEngine's DistSamplerSeedHook before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length // self.batch_size

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        order = epoch_generator(self.seed, self.epoch, 0).permutation(self.length)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield self.epoch, order[start : start + self.batch_size]


class TrainingCrops(Dataset):
    """Batches of crops with their keypoints and augmentation draws.

    Indexed by ``(epoch, rows)``; gives ``crops (B, H, W, 3)`` uint8, ``keypoints
    (B, K, 2)`` in input pixels, ``visible (B, K)`` and ``draws (B, len(DRAWS))``.
    """

    metainfo: dict = {}

    def __init__(self, store: CropStore, seed: int) -> None:
        self.store, self.seed = store, seed
        self.keypoints = torch.from_numpy(store.input_keypoints).float()
        self.visible = torch.from_numpy(store.visible)
        self._draws: tuple[int, torch.Tensor] = (-1, torch.empty(0))

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, item: tuple[int, np.ndarray]) -> dict[str, torch.Tensor]:
        epoch, rows = item
        crops = self.store.crops[rows]
        return {
            "crops": torch.from_numpy(np.asarray(crops)),
            "keypoints": self.keypoints[rows],
            "visible": self.visible[rows],
            "draws": self._epoch_draws(epoch)[rows],
        }

    def _epoch_draws(self, epoch: int) -> torch.Tensor:
        if self._draws[0] != epoch:
            generator = epoch_generator(self.seed, epoch, 1)
            draws = generator.random((len(self), len(DRAWS)), dtype=np.float32)
            self._draws = (epoch, torch.from_numpy(draws))
        return self._draws[1]
