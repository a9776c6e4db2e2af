"""What a training step is made of: layout, compilation, parameter groups, precision."""

import contextlib
from collections.abc import Iterator

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIMIZERS
from torch import nn

PRECISIONS = ("fp32", "bf16")
UNDECAYED = "head.objective.balance"
"""Learnt weights of losses, which decay would pull toward 1 / 0."""


class AutocastOptimWrapper(OptimWrapper):
    """MMEngine's, with the network in bfloat16 where so set.

    MMEngine's own ``AmpOptimWrapper`` refuses CPUs. bfloat16 has the exponents of
    float32, so that losses need no scaling.

    Args:
        optimizer: of the model's parameters.
        precision: ``fp32`` or ``bf16``.
        device: type of the device that trains, such as ``cuda``.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, precision: str, device: str
    ) -> None:
        super().__init__(optimizer)
        if precision not in PRECISIONS:
            raise ValueError(
                f"schedule.precision {precision!r}: expected {' or '.join(PRECISIONS)}"
            )
        self.precision, self.device = precision, device

    @contextlib.contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Around each forward pass; what needs float32 turns autocast off itself."""
        mixed = self.precision == "bf16"
        autocast = torch.autocast(self.device, torch.bfloat16, enabled=mixed)
        with super().optim_context(model), autocast:
            yield


def prepare_model(model: nn.Module, schedule: dict) -> None:
    """Lay out and compile a model as the schedule says, in place."""
    if schedule["channels_last"]:
        model.to(memory_format=torch.channels_last)
    if schedule["compile"]:
        # The head computes its losses from shapes that are fixed too, but a compiled
        # backbone is most of the step and compiles in a fraction of the time.
        model.backbone.compile()


def build_optimizer(model: nn.Module, schedule: dict, device: str) -> OptimWrapper:
    """The schedule's optimizer.

    MMEngine's ``paramwise_cfg`` would make a group of every single parameter, whose
    fused update then runs a hundred times instead of once.

    Args:
        model: whose parameters are trained.
        schedule: its ``optimizer`` (type and arguments, from MMEngine's registry) and
            ``precision``.
        device: type of the device that trains.
    """
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    groups = [{"params": [p for name, p in named if not name.startswith(UNDECAYED)]}]
    undecayed = [p for name, p in named if name.startswith(UNDECAYED)]
    if undecayed:
        groups.append({"params": undecayed, "weight_decay": 0.0})
    optimizer = OPTIMIZERS.build(dict(schedule["optimizer"], params=groups))
    return AutocastOptimWrapper(optimizer, schedule["precision"], device)
