"""Inside a training step the host never waits for the device.

Meta tensors have no values, so that whatever needs one on the host fails: ``item()``,
``bool()``, boolean indexing, ``nonzero``. Copies from the host wait too, unless the
memory is pinned; a dispatch mode finds them.
"""

import contextlib

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from plugins.datasets.keypoint_sets import COCO17
from plugins.model import build_model
from tests.test_methods import METHODS

SIZE, PERSONS = "64x48", 3
VARIANTS = {
    **{name: (f"method={name}",) for name in METHODS},
    **{
        f"cal {weighting}": ("method=cal", f"method.loss.weighting={weighting}")
        for weighting in ("disc", "gt", "pred", "flow")
    },
    "bone": ("method=udp", "auxiliary=bone"),
    "bone, automatic": ("auxiliary=bone", "auxiliary.balance=automatic"),
    "bone, heatmaps": ("auxiliary=bone", "auxiliary.measured=heatmaps"),
    "oversampled": ("store.oversample=2",),
}


class CopiesFromHost(TorchDispatchMode):
    """Collects operations that bring values of the host to the device."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        tensors = [a for a in args if isinstance(a, torch.Tensor)]
        tensors += [v for a in args if isinstance(a, list | tuple) for v in a
                    if isinstance(v, torch.Tensor)]  # fmt: skip
        on_host = [t for t in tensors if t.device.type == "cpu" and t.dim()]
        if on_host and isinstance(result, torch.Tensor) and result.is_meta:
            self.found.append(f"{func} of {[tuple(t.shape) for t in on_host]}")
        return result


@pytest.mark.parametrize("overrides", VARIANTS.values(), ids=VARIANTS)
def test_a_step_neither_reads_the_device_nor_copies_to_it(
    overrides, compose_cell, geometry, monkeypatch
):
    # It does not know meta tensors.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    geometry = geometry(SIZE, 2 if "store.oversample=2" in overrides else 1)
    settings = compose_cell(f"size={SIZE}", *overrides)["train"]
    model = build_model(settings, COCO17, geometry).to("meta").train()
    width, height = geometry.crop_size
    batch = {
        "crops": torch.empty(PERSONS, height, width, 3, dtype=torch.uint8),
        "affines": torch.empty(PERSONS, 2, 3),
        "keypoints": torch.empty(PERSONS, 17, 2),
        "visible": torch.empty(PERSONS, 17, dtype=torch.uint8),
        "colours": torch.empty(PERSONS, 3, 4),
    }
    batch = {name: values.to("meta") for name, values in batch.items()}
    model.head.objective.start_epoch(0.9)  # after CAL's warm-up

    def step() -> None:
        losses = model(**model.data_preprocessor(batch, True), mode="loss")
        model.parse_losses(losses)[0].backward()

    step()  # constants are made once
    with CopiesFromHost() as copies:
        step()
    assert copies.found == []
