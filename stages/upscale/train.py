"""``python -m stages.upscale.train KEY``: train the upscaler super_resolution.KEY.

A small network learns to bring crops of low resolution to the sharp ones, by their mean
absolute difference, on the training split alone; then PSNR and SSIM on the validation
split. A killed training goes on from its last saved state.
"""

import argparse
import csv
import math
import os
import shutil
import time
from pathlib import Path

from plugins import mmpose_compat

mmpose_compat.install()  # spandrel imports torchvision, which may need it

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from spandrel.architectures.Compact import Compact  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from tqdm import trange  # noqa: E402

from stages.files import (  # noqa: E402
    StageError,
    hash_of,
    hash_of_file,
    load_params,
    new_file,
    new_folder,
    run_stage,
    write_json,
)
from stages.memory import keep_freed_memory  # noqa: E402
from stages.upscale.pairs import Pairs, open_pairs  # noqa: E402
from stages.upscale.quality import compare_upscalers  # noqa: E402

SCRATCH = Path(".work/super_resolution")
WARM_UP = 0.05
"""Share of the steps in which the learning rate rises."""
SAVE_SECONDS = 30
"""How much work a kill may cost."""
LOG_STEPS = 100


def train(key: str, settings: dict, folder: Path) -> dict[str, dict[str, float]]:
    """Train an upscaler; writes ``checkpoint.pth``, ``history.csv``, ``quality.json``.

    Args:
        key: of the item; settings: an item of ``super_resolution`` in params.yaml.
        folder: for the results, whole or not at all.

    Returns:
        PSNR and SSIM on the validation split, of this upscaler and of bicubic.

    Raises:
        StageError: the stores cannot be read, or do not belong together.
    """
    pairs, validation = (open_pairs(settings, split) for split in ("train", "val"))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    scratch = SCRATCH / f"{key}-{run_hash(settings, pairs.low.data_hash)}"
    network, history = fit(settings, pairs, device, scratch / "state.pth")
    quality = compare_upscalers(network, validation, device)
    with new_folder(folder) as aside:
        write_json(aside / "quality.json", quality)
        with open(aside / "history.csv", "w", newline="") as handle:
            csv.writer(handle).writerows([("step", "loss"), *history])
        # "params" is where spandrel, and others, look for weights.
        weights = {name: value.cpu() for name, value in network.state_dict().items()}
        checkpoint = {"key": key, "config_hash": hash_of(settings), "params": weights}
        torch.save(checkpoint, aside / "checkpoint.pth")
    shutil.rmtree(scratch, ignore_errors=True)  # short trainings have none
    return quality


def build_network(settings: dict, factor: int) -> nn.Module:
    """The network; its last layer starts small, so that it starts as its own input."""
    torch.manual_seed(settings["training"]["seed"])
    shape = settings["network"]
    network = Compact(
        num_feat=shape["features"], num_conv=shape["convolutions"], upscale=factor
    )
    with torch.no_grad():
        network.body[-1].weight.mul_(0.1)
        network.body[-1].bias.zero_()
    return network.to(memory_format=torch.channels_last)


def fit(
    settings: dict, pairs: Pairs, device: torch.device, path: Path
) -> tuple[nn.Module, list[tuple[int, float]]]:
    """Train the network, from the state at ``path`` if there is one.

    Returns:
        the network, and mean losses in grey levels by step.
    """
    training = settings["training"]
    network = build_network(settings, pairs.factor).to(device)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    history, first = restore(path, network, optimizer)
    losses: list[Tensor] = []
    saved = time.monotonic()
    quiet = "CI" in os.environ or None
    steps = trange(first, training["steps"], initial=first, disable=quiet)
    for step in steps:
        rate = learning_rate(step, training["steps"], training["learning_rate"])
        optimizer.param_groups[0]["lr"] = rate
        low, sharp = (as_input(one, device) for one in pairs.draw(step, training))
        loss = F.l1_loss(network(low), sharp)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        if len(losses) == LOG_STEPS or step + 1 == training["steps"]:
            history.append((step + 1, 255 * torch.stack(losses).mean().item()))
            losses.clear()
            if not math.isfinite(history[-1][1]):
                raise StageError(f"step {step + 1}: the loss is no number; lower "
                                 "upscale.training.learning_rate")  # fmt: skip
            if time.monotonic() - saved > SAVE_SECONDS:
                save(path, network, optimizer, history)
                saved = time.monotonic()
    return network.eval(), history


def as_input(images: Tensor, device: torch.device) -> Tensor:
    """uint8 ``(B, h, w, 3)`` -> ``(B, 3, h, w)`` in [0, 1], channels last."""
    return images.to(device).permute(0, 3, 1, 2).float() / 255


def learning_rate(step: int, steps: int, highest: float) -> float:
    """Linear warm-up, then half a cosine down to 0."""
    warm = min((step + 1) / (WARM_UP * steps), 1.0)
    return highest * warm * 0.5 * (1 + math.cos(math.pi * step / steps))


def save(
    path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, history: list
) -> None:
    """Save a state of training, whole or not at all."""
    state = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
    with new_file(path, "wb") as handle:
        torch.save(state | {"history": history}, handle)


def restore(
    path: Path, network: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[list[tuple[int, float]], int]:
    """Go on from a state, if there is one; gives its history and the next step."""
    if not path.exists():
        return [], 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    history = state["history"]
    print(f"going on after step {history[-1][0]}")
    return history, history[-1][0]


def run_hash(settings: dict, data_hash: str) -> str:
    """Hash of settings, data and code: what a saved state may go on with."""
    code = [hash_of_file(path) for path in sorted(Path(__file__).parent.glob("*.py"))]
    return hash_of([settings, data_hash, code])


def main() -> None:
    """Train one upscaler into runs/KEY."""
    parser = argparse.ArgumentParser(prog="stages.upscale.train", description=__doc__)
    parser.add_argument("key", help="item of params.yaml under super_resolution")
    key = parser.parse_args().key
    keep_freed_memory()
    settings = load_params("super_resolution", key)
    for name, one in train(key, settings, Path("runs") / key).items():
        print(f"{name}: PSNR {one['psnr']:.2f} dB, SSIM {one['ssim']:.4f}")


if __name__ == "__main__":
    run_stage(main)
