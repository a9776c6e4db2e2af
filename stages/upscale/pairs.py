"""Pairs of the same persons' crops, of low resolution and sharp."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from plugins.datasets.batches import epoch_generator
from plugins.datasets.crop_store import CropStore
from stages.files import StageError


@dataclass(frozen=True)
class Pairs:
    """A split of two stores of the same persons, in the same frame.

    Attributes:
        low: crops of low resolution; sharp: of ``factor`` times as many pixels along
            each axis, over the same area.
    """

    low: CropStore
    sharp: CropStore
    factor: int

    def draw(self, step: int, settings: dict) -> tuple[Tensor, Tensor]:
        """Patches ``(B, h, w, 3)`` of a training step, low and sharp, uint8.

        They depend on the seed and the step alone. All are of one place, so that each
        is one slice of the files; half of them are mirrored.
        """
        draw = epoch_generator(settings["seed"], step, 0)
        rows = np.sort(draw.integers(len(self.low), size=settings["batch_size"]))
        width, height = self.low.geometry.crop_size
        patch = min(settings["patch"], width, height)
        left, top = draw.integers((width - patch + 1, height - patch + 1)).tolist()
        mirrored = torch.from_numpy(draw.random(len(rows)) < 0.5)[:, None, None, None]
        patches = []
        for store, scale in ((self.low, 1), (self.sharp, self.factor)):
            here = (slice(k * scale, (k + patch) * scale) for k in (top, left))
            crops = torch.from_numpy(np.asarray(store.crops[:, *here][rows]))
            patches.append(torch.where(mirrored, crops.flip(2), crops))
        return patches[0], patches[1]


def open_pairs(settings: dict, split: str) -> Pairs:
    """The pairs of a split.

    Args:
        settings: an item of ``super_resolution`` in params.yaml.

    Raises:
        StageError: a store cannot be read, or they are not of the same persons.
    """
    stores = Path("data/stores")
    low, sharp = (stores / settings[name] / split for name in ("low", "sharp"))
    try:
        pairs = Pairs(CropStore(low), CropStore(sharp), settings["factor"])
    except ValueError as error:
        raise StageError(str(error)) from None
    size, fine = (one.geometry.crop_size for one in (pairs.low, pairs.sharp))
    same = np.array_equal(pairs.low.annotation_id, pairs.sharp.annotation_id)
    if not same or fine != tuple(side * pairs.factor for side in size):
        raise StageError(
            f"{low}, {sharp}: not the same persons at {pairs.factor} times the size; "
            "make both again with python -m stages.downsample"
        )
    return pairs
