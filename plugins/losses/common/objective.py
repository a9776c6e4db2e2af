"""What a cell minimises: the method's loss, what is added, and how it is summed."""

from torch import Tensor, nn

from plugins.codecs.common.codec import Codec, Outputs
from plugins.losses.common.balance import AutomaticBalance
from plugins.registry import LOSSES, find


class Objective(nn.Module):
    """Sum of a method's loss terms and of auxiliary ones.

    A loss is a module ``(outputs, target, codec) -> {term: scalar}`` with ``terms``,
    the names that it gives, and ``bounded``: no term is below 0.

    Args:
        loss: ``{"name", ...}`` of the method's loss.
        auxiliary: ``{"name", "balance", ...}``: a second loss, or ``none``; with
            ``balance: automatic`` the terms' weights are learnt.
        codec: of the head.

    Raises:
        ValueError: unknown loss, or a balance that an unbounded loss does not allow.
    """

    def __init__(self, loss: dict, auxiliary: dict, codec: Codec) -> None:
        super().__init__()
        self.codec = codec
        auxiliary = dict(auxiliary)
        balance = auxiliary.pop("balance")
        if balance not in ("fixed", "automatic"):
            raise ValueError(f"balance {balance!r}: expected fixed or automatic")
        chosen = [loss] if auxiliary["name"] == "none" else [loss, auxiliary]
        self.losses = nn.ModuleList(build_loss(settings) for settings in chosen)
        for module in self.losses:
            if hasattr(module, "check"):
                module.check(codec)
        self.balance = None
        if balance == "automatic":
            for settings, module in zip(chosen, self.losses, strict=True):
                if not module.bounded:
                    raise ValueError(
                        f"balance automatic: loss {settings['name']!r} has no lower "
                        "bound, so that its weight would grow without end; expected "
                        "balance fixed"
                    )
            terms = [term for module in self.losses for term in module.terms]
            self.balance = AutomaticBalance(terms)

    def forward(self, outputs: Outputs, target: Outputs) -> dict[str, Tensor]:
        """Scalars ``loss_<term>``, which MMEngine adds up."""
        terms: dict[str, Tensor] = {}
        for module in self.losses:
            terms |= module(outputs, target, self.codec)
        if self.balance is not None:
            terms = self.balance(terms)
        return {f"loss_{name}": value for name, value in terms.items()}

    def start_epoch(self, progress: float) -> None:
        """Tell every loss that asks which share of the training is done."""
        for module in self.losses:
            if hasattr(module, "start_epoch"):
                module.start_epoch(progress)


def build_loss(settings: dict) -> nn.Module:
    """Build the loss of that name with these settings."""
    arguments = dict(settings)
    return find(LOSSES, arguments.pop("name"))(**arguments)
