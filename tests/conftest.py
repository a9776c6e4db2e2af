"""Shared fixtures: MMPose made importable, small stores, composed cells."""

import functools
import signal
from pathlib import Path

import pytest
import torch

from plugins import mmpose_compat

mmpose_compat.install()
torch.set_num_threads(1)

from plugins.datasets.crop_store import CropGeometry  # noqa: E402
from stages.downsample import downsample, make_geometry  # noqa: E402
from stages.plan import plan  # noqa: E402
from stages.prepare import prepare  # noqa: E402
from tests.coco_folder import write_coco_folder  # noqa: E402

SIZES = ("32x24", "64x48", "128x96", "256x192")
STORE = {"data": "tiny", "padding": 1.25, "context": 0.25, "oversample": 1}
STORE |= {"reduced_decode": False}


@pytest.fixture(autouse=True)
def sigterm():
    """A training that a test ends early leaves its own handler, which forks inherit."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@functools.cache
def _composed(*overrides: str) -> dict:
    return plan(["grid=single", *overrides])


@pytest.fixture(scope="session")
def compose_cell():
    """Give the one cell that conf/ composes to with these overrides."""

    def compose(*overrides: str) -> dict:
        (cell,) = _composed(*overrides)["cells"].values()
        return cell

    return compose


@pytest.fixture(scope="session")
def geometry():
    """Give the crop geometry of a size's name, such as 64x48."""

    def make(size: str, oversample: int = 1) -> CropGeometry:
        return make_geometry(STORE | {"size": size, "oversample": oversample})

    return make


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory) -> Path:
    """A folder to run stages in: ``data/tiny``, 16 and 6 persons in JPEG photos."""
    root = tmp_path_factory.mktemp("work")
    write_coco_folder(root / "photos", {"train": 16, "val": 6})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        settings = {"name": "tiny", "source": "coco_dir", "root": "photos"}
        settings |= {"strict": True, "train": {"annotations": None, "images": None}}
        settings |= {"val": {"annotations": None, "images": None}}
        prepare(settings, Path("data/tiny"), 1)
    return root


@pytest.fixture(scope="session")
def tiny_work(tiny_data) -> Path:
    """The same with the store ``data/stores/tiny-32x24``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tiny_data)
        folder = Path("data/stores/tiny-32x24")
        downsample(STORE | {"size": "32x24"}, folder, 1)
    return tiny_data
