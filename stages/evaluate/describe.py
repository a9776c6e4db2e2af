"""What a row of metrics.csv was measured with: cell, cost, code and versions."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch
from mmengine.analysis import FlopAnalyzer
from mmpose.models.pose_estimators import TopdownPoseEstimator

from plugins.datasets.crop_store import CropStore
from stages.files import hash_of, hash_of_file

PACKAGES = ("torch", "mmpose", "mmengine", "pycocotools", "numpy")
WRITTEN = (":!dvc.lock", ":!results")
"""What DVC and the stages write themselves: no change of what a result depends on."""


def describe(
    key: str, cell: dict, store: CropStore, model: TopdownPoseEstimator, path: Path
) -> dict:
    """Columns that all decoders of a cell share: what it is and what it costs.

    Args:
        key: of the cell.
        cell: its item of params.yaml.
        store: validation persons.
        model: that is evaluated.
        path: of its checkpoint.
    """
    parameters, gmacs = measure_cost(model)
    names = ("data", "size", "upscale", "backbone", "method", "seed", "schedule")
    revision, dirty = git_revision()
    return {
        "key": key,
        **{name: cell[name] for name in names},
        "parameters": parameters,
        "gmacs": gmacs,
        "host": platform.node(),
        "device": name_device(next(model.parameters()).device),
        "git_revision": revision,
        "git_dirty": dirty,
        "config_hash": hash_of(cell["train"]),
        "data_hash": store.data_hash,
        "checkpoint_hash": hash_of_file(path)[:12],
        "versions": " ".join(
            [f"python={platform.python_version()}"]
            + [f"{name}={version(name)}" for name in PACKAGES]
        ),
    }


def measure_cost(model: TopdownPoseEstimator) -> tuple[int, float]:
    """Parameters, and multiply-accumulates in 10^9 per person without flip test."""
    width, height = model.head.codec.input_size
    network = torch.nn.Sequential(model.backbone, model.head).eval()
    image = torch.zeros(1, 3, height, width, device=next(model.parameters()).device)
    # Not get_model_complexity_info, which traces a second time for activations. The
    # warnings would be of operators without multiplications, and of the losses.
    counted = FlopAnalyzer(network, (image,)).unsupported_ops_warnings(False)
    gmacs = counted.uncalled_modules_warnings(False).total() / 1e9
    return sum(p.numel() for p in network.parameters()), gmacs


def name_device(device: torch.device) -> str:
    """Such as ``cpu x86_64`` or ``cuda NVIDIA H200``."""
    cuda = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if cuda else platform.machine()
    return f"{device.type} {name}"


def git_revision() -> tuple[str, bool]:
    """Revision of the working tree, and whether tracked sources differ from it."""

    def git(*arguments: str) -> str:
        command = ["git", *arguments]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    try:
        revision = git("rev-parse", "HEAD") or "unknown"
        changes = git("status", "--porcelain", "--untracked-files=no", ".", *WRITTEN)
        return revision, bool(changes)
    except OSError:
        return "unknown", False
