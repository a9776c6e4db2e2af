"""Load a trained cell and predict the validation persons with every decoder."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from mmpose.models.pose_estimators import TopdownPoseEstimator

from plugins.codecs import decoders_for
from plugins.codecs.common.codec import Codec, Outputs
from plugins.codecs.common.peaks import find_peaks
from plugins.datasets.crop_store import CropStore
from plugins.inference import store_outputs
from plugins.model import build_model
from stages.files import StageError, hash_of


def load_model(
    key: str, cell: dict, path: Path, store: CropStore
) -> TopdownPoseEstimator:
    """Build the cell's model and load its weights, on a GPU where there is one.

    Raises:
        StageError: the checkpoint cannot be read or is not this cell's.
    """
    remedy = f"train it again: python -m stages.train {key}"
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise StageError(f"{path}: not found; {remedy}") from None
    except Exception as error:  # a broken file raises many kinds
        raise StageError(f"{path}: cannot be read ({error}); {remedy}") from None
    expected = {"config_hash": hash_of(cell["train"]), "data_hash": store.data_hash}
    for name, value in expected.items():
        found = checkpoint.get(name)
        if found != value:
            raise StageError(
                f"{path}: trained with {name} {found}, {value} expected; {remedy}"
            )
    model = build_model(cell["train"], store.keypoint_set, store.geometry)
    model.load_state_dict(checkpoint["state_dict"])
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    return model.to(memory_format=torch.channels_last).eval()


def fitting_decoders(name: str, own: Codec) -> dict[str, Codec]:
    """The cell's own codec first, then all others that read its output."""
    others = decoders_for(own)
    return {name: own} | {key: codec for key, codec in others.items() if key != name}


def predict(
    model: TopdownPoseEstimator,
    store: CropStore,
    decoders: dict[str, Codec],
    settings: dict,
) -> tuple[
    dict[str, tuple[np.ndarray, np.ndarray]], dict[str, float], np.ndarray | None
]:
    """Keypoints ``(N, K, 2)`` in image pixels and scores ``(N, K)`` of each decoder.

    In float32, as they are written: who reads them measures what was measured here.
    Also the seconds that the network and each decoder took, and the largest cell
    ``(N, K, 2)`` of each map where the network gives maps.
    """
    found: dict[str, list] = {name: [] for name in decoders}
    peaks = []
    seconds = dict.fromkeys(["network", *decoders], 0.0)
    batches = store_outputs(model, store, settings["batch_size"], settings["flip_test"])
    for outputs in _timed(batches, seconds, "network"):
        if "heatmaps" in outputs:
            peaks.append(find_peaks(outputs["heatmaps"])[0].cpu().numpy())
        for name, codec in decoders.items():
            started = time.perf_counter()
            keypoints, scores = codec.decode_batch(outputs)
            found[name].append((keypoints.cpu().numpy(), scores.cpu().numpy()))
            seconds[name] += time.perf_counter() - started
    predictions = {}
    for name, parts in found.items():
        keypoints = np.concatenate([keypoints for keypoints, _ in parts])
        scores = np.concatenate([scores for _, scores in parts])
        placed = store.to_image_pixels(keypoints).astype(np.float32)
        predictions[name] = placed, scores.astype(np.float32)
    return predictions, seconds, np.concatenate(peaks) if peaks else None


def speeds(seconds: dict[str, float], decoder: str, persons: int) -> dict[str, float]:
    """Columns of metrics.csv: what the network and one decoder took."""
    network, own = seconds["network"], seconds[decoder]
    return {
        "persons_per_s": persons / (network + own),
        "network_s": network,
        "decoder_s": own,
    }


def _timed(
    batches: Iterator[tuple[slice, Outputs]], seconds: dict, name: str
) -> Iterator[Outputs]:
    started = time.perf_counter()
    for _, outputs in batches:
        if next(iter(outputs.values())).is_cuda:
            torch.cuda.synchronize()
        seconds[name] += time.perf_counter() - started
        yield outputs
        started = time.perf_counter()
