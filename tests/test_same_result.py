"""MMPose's transforms person by person, as same_result.py trains: the same batches."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks import same_result
from plugins.codecs import build_codec
from plugins.datasets import warp
from plugins.datasets.augment import AugmentSettings
from plugins.datasets.crop_store import CropStore
from plugins.datasets.prepared import open_truth
from plugins.datasets.preprocessor import CropPreprocessor
from plugins.datasets.training_crops import TrainingCrops
from stages.train import make_runner

DATA = Path("data/tiny")
RESULTS = Path("benchmarks/results/same_result")


@pytest.fixture
def store(tiny_work, monkeypatch) -> CropStore:
    monkeypatch.chdir(tiny_work)
    return CropStore(Path("data/stores/tiny-32x24/train"))


@pytest.fixture
def settings(compose_cell) -> AugmentSettings:
    """As in conf/, with a shift besides, so that every draw counts."""
    usual = compose_cell()["train"]["augment"]
    return AugmentSettings(**usual | {"shift": 0.1, "shifted": 0.5})


def batches_of(store, settings, photos, monkeypatch, epochs=6):
    """Both ways' batches of the same epochs; ours samples unsmoothed, as OpenCV."""
    monkeypatch.setattr(warp, "smooth_", lambda crops, affines: crops)
    codec = build_codec("udp", store.input_size)
    ours = TrainingCrops(store, 3, settings)
    theirs = same_result.PersonByPerson(store, 3, photos, settings, codec.sigma)
    preprocessor = CropPreprocessor(store.geometry, store.keypoint_set)
    # Grey levels, which both ways are compared in.
    preprocessor.normalise = lambda images: images
    for epoch in range(epochs):
        item = (epoch, np.arange(len(store)))
        own = preprocessor(ours[item], training=True)
        samples = own["data_samples"]
        target = codec.encode_batch(samples["keypoints"], samples["visible"])
        yield own["inputs"], samples, target, theirs[item]


@pytest.mark.parametrize("from_photos", [False, True])
def test_labels_and_targets_are_those_of_the_batched_path(
    store, settings, from_photos, monkeypatch
):
    photos = same_result.photos_of(store, DATA) if from_photos else None
    for _, samples, target, theirs in batches_of(store, settings, photos, monkeypatch):
        known = samples["visible"] > 0
        torch.testing.assert_close(theirs["visible"] > 0, known)
        apart = (theirs["keypoints"] - samples["keypoints"])[known].abs()
        assert apart.max() < 1e-3
        # Where a rounded centre lies between two cells, either is right.
        cells = samples["keypoints"] / build_codec("udp", store.input_size).scale
        clear = ((cells % 1 - 0.5).abs() > 1e-3).all(-1)
        assert clear[known].float().mean() > 0.95
        torch.testing.assert_close(
            theirs["heatmaps"][known & clear],
            target["heatmaps"][known & clear].float(),
            atol=2e-3,
            rtol=0,
        )
        # MMPose also counts some keypoints whose Gaussian does not reach the map.
        near = ((cells > -3) & (cells < torch.tensor([8.0, 10.0]))).all(-1)
        weights = theirs["weights"] > 0, target["weights"] > 0
        torch.testing.assert_close(weights[0][near], weights[1][near])
        assert (weights[0] | ~weights[1]).all()


def trained(settings, way, training, scratch) -> tuple[float, list[dict]]:
    """The loss of one epoch, and the targets of its batches."""
    stores = training, CropStore(Path("data/stores/tiny-32x24/val"))
    truth = open_truth(DATA)
    runner, history = make_runner(settings, *stores, truth, None, scratch)
    if way != "batches":
        photos = same_result.photos_of(training, DATA) if way == "photos" else None
        same_result.feed_one_by_one(runner, settings, training, photos)
    given: list[dict] = []
    runner.model.head.objective.register_forward_pre_hook(
        lambda _, arguments: given.append(arguments[1])
    )
    runner.train()
    return history.rows[0]["loss"], given


@pytest.mark.filterwarnings("ignore:.*has been created:UserWarning")
def test_a_training_learns_from_their_batches(store, compose_cell, tmp_path):
    """The same first weights and order: nearly the same losses, of MMPose's targets."""
    settings = compose_cell("size=32x24", "schedule=smoke")["train"]
    settings |= {"schedule": settings["schedule"] | {"epochs": 1}}
    found = {
        way: trained(settings, way, store, tmp_path / way) for way in same_result.WAYS
    }
    own, targets = found["batches"]
    for way in ("crops", "photos"):
        loss, given = found[way]
        assert loss == pytest.approx(own, rel=0.02) and loss != own
        assert len(given) == len(targets) > 0
        for a, b in zip(given, targets, strict=True):
            assert "keypoints" not in a
            apart = (a["heatmaps"] - b["heatmaps"]).abs().amax((-2, -1))
            assert (apart < 2e-3).float().mean() > 0.95


def test_images_are_those_of_the_batched_path(store, settings, monkeypatch):
    """Half a grey level on average: OpenCV samples at 32nds of a pixel and rounds."""
    for images, _, _, theirs in batches_of(store, settings, None, monkeypatch):
        expected = theirs["crops"].permute(0, 3, 1, 2).float()
        assert (images - expected).abs().mean() < 0.5
        assert expected.std() > 30


def test_from_photos_the_same_is_seen(store, settings, monkeypatch):
    """As sharp as the photo, and beyond the crop's context; yet the same picture."""
    batches = batches_of(
        store, settings, same_result.photos_of(store, DATA), monkeypatch
    )
    for images, _, _, theirs in batches:
        expected = theirs["crops"].permute(0, 3, 1, 2).float()
        inside = (images > 0).all(1) & (expected > 0).all(1)
        a, b = (part.permute(0, 2, 3, 1)[inside] for part in (images, expected))
        assert inside.float().mean() > 0.5
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.8


def test_the_table_is_that_of_the_rows():
    rows = pd.read_csv(RESULTS.with_suffix(".csv"))
    assert RESULTS.with_suffix(".md").read_text() == same_result.render(rows)


def test_differences_are_of_the_same_seed():
    columns = {"size": "64x48", "epochs": 2, "persons": 3}
    rows = [
        {"way": way, "seed": seed} | dict.fromkeys(same_result.METRICS, ap) | columns
        for way, seed, ap in [
            ("batches", 0, 10.0), ("batches", 1, 20.0), ("crops", 1, 21.0),
            ("crops", 0, 11.0), ("photos", 1, 25.0),
        ]
    ]  # fmt: skip
    text = same_result.render(pd.DataFrame(rows))
    assert "| batches | 2 | 15.0 ± 7.1 |" in text
    assert "| crops - batches | 2 | +1.0 [+1.0, +1.0] |" in text
    assert "| photos - batches | 1 | +5.0 |" in text
