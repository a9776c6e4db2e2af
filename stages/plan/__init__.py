"""The planner: what conf/ composes to becomes params.yaml, which DVC reads.

The grid names the cells: every combination of its axes, each composed by Hydra. An
axis given on the command line replaces the grid's: ``size=64x48,96x72``.
"""

from stages.plan.compose import CONF
from stages.plan.params import plan, render

__all__ = ["CONF", "plan", "render"]
