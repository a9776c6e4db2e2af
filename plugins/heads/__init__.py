"""Heads: from features to what a codec decodes."""

from plugins.registry import import_modules

import_modules(__name__, __path__)
