"""Losses on what a head predicts."""

from plugins.registry import import_modules

import_modules(__name__, __path__)
