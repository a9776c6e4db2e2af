"""Registries of what a method is made of: each entry is named after its module.

So ``codec: {name: udp}`` in conf/method is plugins/codecs/udp.py (or a package of that
name), which dvc.yaml lists as what the cells of that method depend on. In an MMPose
config the codecs have the types ``lowres.udp`` and so on; heads and backbones are in
its MODELS by class name.
"""

import importlib
import pkgutil

from mmengine.registry import Registry
from mmpose.registry import KEYPOINT_CODECS

CODECS = Registry("codec", parent=KEYPOINT_CODECS, scope="lowres")
BACKBONES = Registry("backbone", scope="lowres")
HEADS = Registry("head", scope="lowres")
LOSSES = Registry("loss", scope="lowres")


def import_modules(package: str, path: list[str]) -> None:
    """Import every module of a package, so that each registers what it holds."""
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")


def find(registry: Registry, name: str) -> type:
    """Class of that name.

    Raises:
        ValueError: there is none; says which there are.
    """
    if name not in registry:
        known = ", ".join(sorted(registry.module_dict))
        raise ValueError(f"{registry.name} {name!r}: expected one of {known}")
    return registry.get(name)


def typed(registry: Registry, settings: dict) -> dict:
    """Settings with a ``name``, as the config with a ``type`` that MMEngine builds."""
    config = dict(settings)
    config["type"] = find(registry, config.pop("name"))
    return config
