"""Order and draws: a matter of seed, epoch and person alone."""

import numpy as np
import pytest
import torch

from plugins.datasets.augment import DRAWS, AugmentSettings
from plugins.datasets.batches import EpochBatches
from plugins.datasets.crop_store import CropGeometry
from plugins.datasets.keypoint_sets import COCO17
from plugins.datasets.training_crops import TrainingCrops, epoch_draws

PERSONS = 23
STILL = AugmentSettings(0, 0, 8, 0, scale=0, rotation=0, rotate=0)
LIVELY = AugmentSettings(0.5, 0.3, 8, 0.7, scale=0.35, rotation=45, rotate=1)


def order(batch_size: int, seed: int = 0, epoch: int = 0) -> list[np.ndarray]:
    batches = EpochBatches(PERSONS, batch_size, seed)
    batches.set_epoch(epoch)
    assert all(number == epoch for number, _ in batches)
    return [rows for _, rows in batches]


class NumberedStore:
    """A store whose every value is its person's number."""

    geometry, keypoint_set = CropGeometry((48, 64), 16, 1), COCO17

    def __init__(self) -> None:
        number = np.arange(PERSONS)
        self.input_keypoints = np.zeros((PERSONS, 17, 2)) + number[:, None, None]
        self.visible = np.full((PERSONS, 17), 2, dtype=np.uint8)
        self.padded_share = np.ones((PERSONS, 2))
        self.crops = np.tile(number.astype(np.uint8)[:, None, None, None], (1, 4, 3, 3))

    def __len__(self) -> int:
        return PERSONS


@pytest.fixture
def crops() -> TrainingCrops:
    return TrainingCrops(NumberedStore(), 0, LIVELY)


def test_everyone_comes_once_in_an_epoch():
    rows = np.concatenate(order(1))
    assert sorted(rows) == list(range(PERSONS))
    assert list(rows) != list(range(PERSONS))


@pytest.mark.parametrize("batch_size", [2, 5, 23])
def test_the_order_does_not_depend_on_the_batch_size(batch_size):
    batches = order(batch_size, seed=3, epoch=2)
    alone = np.concatenate(order(1, seed=3, epoch=2))
    assert {len(rows) for rows in batches} == {batch_size}
    assert len(batches) == len(EpochBatches(PERSONS, batch_size, 3))
    count = len(batches) * batch_size
    assert PERSONS - count < batch_size
    np.testing.assert_array_equal(np.concatenate(batches), alone[:count])


def test_the_order_depends_on_seed_and_epoch():
    orders = [tuple(np.concatenate(order(1, s, e))) for s in (0, 1) for e in (0, 1, 2)]
    assert len(set(orders)) == 6
    again = tuple(np.concatenate(order(1, 1, 2)))
    assert again == orders[-1]


def test_too_few_persons_are_refused():
    with pytest.raises(ValueError, match="5 persons do not fill a batch of 8"):
        EpochBatches(5, 8, 0)


def test_draws_depend_on_seed_epoch_and_person_alone():
    draws = epoch_draws(0, 4, PERSONS)
    assert draws.shape == (PERSONS, len(DRAWS))
    assert ((draws >= 0) & (draws < 1)).all()
    assert (draws == epoch_draws(0, 4, PERSONS)).all()
    assert all((epoch_draws(*o, PERSONS) != draws).all() for o in ((0, 5), (1, 4)))
    assert len(torch.unique(draws)) > 0.99 * draws.numel()


def test_augmentation_depends_on_seed_epoch_and_person_alone(crops):
    """Bit by bit, whoever is in the batch and whichever epoch was asked for before."""
    whole = crops[4, np.arange(PERSONS)]
    rows = np.array([20, 3, 11])
    crops[5, rows]
    for part in (crops[4, rows], TrainingCrops(NumberedStore(), 0, LIVELY)[4, rows]):
        for name, values in part.items():
            torch.testing.assert_close(values, whole[name][rows], atol=0, rtol=0)
    affines = whole["affines"][rows]
    others = [crops[5, rows], TrainingCrops(NumberedStore(), 1, LIVELY)[4, rows]]
    assert all((other["affines"] != affines).any((1, 2)).all() for other in others)
    assert len(torch.unique(whole["affines"][:, 0, 0])) == PERSONS


@pytest.mark.parametrize("cache", ["host", "device"])
def test_batches_are_the_same_wherever_the_crops_wait(crops, cache):
    other = TrainingCrops(NumberedStore(), 0, LIVELY, cache, "cpu")
    rows = np.array([20, 3, 11])
    expected, found = crops[4, rows], other[4, rows]
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, atol=0, rtol=0)


def test_a_batch_holds_the_persons_of_its_rows():
    crops = TrainingCrops(NumberedStore(), 0, STILL)
    rows = np.array([20, 3, 11])
    batch = crops[0, rows]
    assert batch["crops"][:, 0, 0, 0].tolist() == [20, 3, 11]
    places = torch.tensor([20.0, 3.0, 11.0])
    torch.testing.assert_close(batch["keypoints"][:, 16, 1], places)
    assert batch["visible"].shape == (3, 17)
    assert len(crops) == PERSONS
