"""Backbones that give features for heatmaps of exactly input / 4."""

from plugins.registry import import_modules

import_modules(__name__, __path__)
