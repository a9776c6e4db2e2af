"""The crops that training reads, and the augmentation of their persons.

It depends on (seed, epoch, person) alone: never on the batch, the method, the device or
on which process reads a person. So all methods see the same people in the same poses.
"""

import numpy as np
import torch
from torch.utils.data import Dataset

from plugins.datasets.augment import DRAWS, AugmentSettings, augment_persons
from plugins.datasets.batches import epoch_generator
from plugins.datasets.cache import hold, send
from plugins.datasets.crop_store import CropStore


def epoch_draws(seed: int, epoch: int, persons: int) -> torch.Tensor:
    """Uniform numbers in [0, 1) for augmentation, ``(persons, len(DRAWS))``."""
    generator = epoch_generator(seed, epoch, 1)
    return torch.from_numpy(generator.random((persons, len(DRAWS)), dtype=np.float32))


class TrainingCrops(Dataset):
    """Batches of crops, and how their persons are augmented.

    Indexed by ``(epoch, rows)``; gives ``crops (B, H, W, 3)`` uint8 and what
    ``augment_persons`` has for these persons: ``affines (B, 2, 3)``, ``keypoints
    (B, K, 2)`` in augmented input pixels, ``visible (B, K)`` and, where set,
    ``colours (B, 3, 4)``. On the device with ``cache="device"``, else in memory.

    Args:
        store: crops and labels of the persons.
        seed: of the draws.
        settings: of the augmentation.
        cache: none, host or device; see ``choose_cache``.
        device: that trains.
    """

    metainfo: dict = {}

    def __init__(
        self,
        store: CropStore,
        seed: int,
        settings: AugmentSettings,
        cache: str = "none",
        device: torch.device | str = "cpu",
    ) -> None:
        self.seed, self.settings = seed, settings
        self.cache, self.device = cache, torch.device(device)
        self.crops = hold(store.crops, cache, self.device)
        self.geometry, self.keypoint_set = store.geometry, store.keypoint_set
        self.keypoints = torch.from_numpy(store.input_keypoints).float()
        self.visible = torch.from_numpy(store.visible)
        self.box = torch.from_numpy(store.padded_share).float()
        self._augmented: tuple[int, dict[str, torch.Tensor]] = (-1, {})

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
        persons = self._augment(epoch)
        batch = {name: values[index] for name, values in persons.items()}
        batch["crops"] = crops
        if self.cache == "device":
            return batch
        return {name: send(values, self.device) for name, values in batch.items()}

    def _augment(self, epoch: int) -> dict[str, torch.Tensor]:
        """All persons of an epoch at once, whoever is in which batch.

        Always by the CPU, so that a GPU trains on the same numbers: for 150,000
        persons a few tenths of a second, once per epoch.
        """
        if self._augmented[0] != epoch:
            persons = augment_persons(
                epoch_draws(self.seed, epoch, len(self)),
                self.keypoints,
                self.visible,
                self.box,
                self.keypoint_set,
                self.geometry,
                self.settings,
            )
            if self.cache == "device":
                persons = {name: v.to(self.device) for name, v in persons.items()}
            self._augmented = (epoch, persons)
        return self._augmented[1]
