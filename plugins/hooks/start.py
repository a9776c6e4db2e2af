"""Where a training starts: weights of another one, and what its losses are told."""

from pathlib import Path

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from plugins.distributed import unwrapped

OWN = ("head.objective.", "data_preprocessor.")
"""What belongs to a training and is never taken over."""
PARTS = ("backbone.", "head.")
"""How names begin in a pose estimator; ImageNet's are those of the backbone alone."""


@HOOKS.register_module()
class StartHook(Hook):
    """Loads the weights that fit, before a saved state of this training is restored.

    Args:
        path: of a checkpoint or a bare state dict; None: from scratch.
        part: ``all`` that fits, or the ``backbone`` alone.
    """

    priority = "HIGH"

    def __init__(self, path: Path | None, part: str) -> None:
        if part not in ("all", "backbone"):
            raise ValueError(f"init_part {part!r}: expected all or backbone")
        self.path, self.part = path, part

    def before_train(self, runner: Runner) -> None:
        """Load, and say what was."""
        if self.path is not None:
            said = start_from(unwrapped(runner.model), self.path, self.part)
            if is_main_process():
                print(said, flush=True)


@HOOKS.register_module()
class ProgressHook(Hook):
    """Tells the losses how much of the training is done (CAL's warm-up)."""

    def before_train_epoch(self, runner: Runner) -> None:
        """At the start of each epoch."""
        progress = runner.epoch / runner.max_epochs
        unwrapped(runner.model).head.objective.start_epoch(progress)


def start_from(model: torch.nn.Module, path: Path, part: str) -> str:
    """Load the tensors of a checkpoint that have a namesake of the same shape.

    That of a backbone alone fits too, such as ImageNet's in HRNet's names.

    Returns:
        One line that says how many were taken, and which were not.

    Raises:
        ValueError: the file cannot be read as weights, or nothing in it fits.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        found = found.get("state_dict", found)
        found = {name: v for name, v in found.items() if isinstance(v, torch.Tensor)}
    except Exception as error:  # a broken file raises many kinds
        raise ValueError(f"init {path}: not readable as weights ({error})") from None
    if not any(name.startswith(PARTS) for name in found):
        found = {f"backbone.{name}": v for name, v in found.items()}
    own = model.state_dict()
    own = {name: v for name, v in own.items() if not name.startswith(OWN)}
    if part == "backbone":
        own = {name: v for name, v in own.items() if name.startswith("backbone.")}
    fitting = {
        name: found[name]
        for name, values in own.items()
        if name in found and found[name].shape == values.shape
    }
    if not any(values.is_floating_point() for values in fitting.values()):
        raise ValueError(
            f"init {path}: none of its {len(found)} tensors fits the model"
        )
    model.load_state_dict(fitting, strict=False)
    missing = {".".join(name.split(".")[:2]) for name in set(own) - set(fitting)}
    left = f"; from scratch, wholly or partly: {', '.join(sorted(missing))}"
    left = left if missing else ""
    return f"{path}: {len(fitting)} of {len(own)} tensors taken over{left}"
