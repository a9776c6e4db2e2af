"""Index batches, and random numbers by seed, epoch and purpose.

The order depends on (seed, epoch) alone: never on the batch size, on the method or on
which process reads a person. A resumed run goes on exactly where it stopped.
"""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


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
