"""Predictions of a store's persons: batches that the device can take."""

import pytest
import torch

from plugins import inference
from plugins.datasets.crop_store import CropStore
from plugins.datasets.keypoint_sets import COCO17
from plugins.inference import store_outputs
from plugins.model import build_model


@pytest.fixture(scope="module")
def store(tiny_work) -> CropStore:
    return CropStore(tiny_work / "data/stores/tiny-32x24/val")


def test_a_cpu_predicts_as_many_at_once_as_its_caches_hold(
    store, compose_cell, monkeypatch
):
    torch.manual_seed(0)
    settings = compose_cell("size=32x24", "schedule=smoke")["train"]
    model = build_model(settings, COCO17, store.geometry)
    together = list(store_outputs(model, store, 100, True))
    monkeypatch.setattr(inference, "CPU_PIXELS", 2 * 32 * 24 + 1)
    parts = list(store_outputs(model, store, 100, True))
    assert [rows.stop - rows.start for rows, _ in together] == [len(store)]
    assert [rows.stop - rows.start for rows, _ in parts] == [2] * (len(store) // 2)
    maps = torch.cat([outputs["heatmaps"] for _, outputs in parts])
    torch.testing.assert_close(maps, together[0][1]["heatmaps"], atol=1e-5, rtol=0)
    alone = store_outputs(model, store, 1, True)
    assert {rows.stop - rows.start for rows, _ in alone} == {1}
