"""CAL's loss (arXiv 2109.09090): offsets weighted by where the argmax will land."""

from plugins.losses.cal.loss import CALLoss

__all__ = ["CALLoss"]
