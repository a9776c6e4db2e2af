"""Make MMPose 1.3.2 importable from wheels alone; import this before mmpose.

MMPose asks for packages that have no wheels for current Pythons, of which it uses
little. ``install`` gives it that little, and only where the real package is absent:

* ``xtcocotools`` (COCO's API): pycocotools is the same code under another name, but for
  two arguments of ``COCOeval`` that MMPose's metrics pass.
* ``mmcv.ops`` (compiled operators): only deformable heads use them; here they are
  classes that raise when constructed. A full mmcv is used where it is installed.
* ``mmdet.utils``: two names, a type alias and a function of distributed training.
* ``torchvision::nms``: torchvision built for CUDA does not register it with a CPU build
  of torch; declaring its schema lets torchvision be imported.

It also keeps quiet what users can do nothing about: ``setuptools``' notice about
``pkg_resources`` (mmengine) and mmcv-lite's about an operator that no model here uses.
"""

import importlib.util
import sys
import types
import warnings


def install() -> None:
    """Apply all adaptations; a second call does nothing."""
    for notice in ("pkg_resources is deprecated", "Fail to import ``MultiScaleDef"):
        warnings.filterwarnings("ignore", message=notice)
    _declare_torchvision_operators()
    if _is_absent("xtcocotools"):
        _alias_xtcocotools()
    if _is_absent("mmcv._ext"):
        _replace_module("mmcv.ops", _CompiledOperators("mmcv.ops"))
    if _is_absent("mmdet"):
        _add_mmdet_utils()


def _is_absent(name: str) -> bool:
    """Neither installed nor already stood in for (``find_spec`` refuses a stand-in)."""
    return name not in sys.modules and importlib.util.find_spec(name) is None


class _CompiledOperators(types.ModuleType):
    """Stands for ``mmcv.ops``: any name is a class that cannot be constructed."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)

        def refuse(self, *args, **kwargs):
            raise ImportError(f"mmcv.ops.{name} needs the full mmcv, compiled")

        operator = type(name, (), {"__init__": refuse, "__module__": "mmcv.ops"})
        setattr(self, name, operator)
        return operator


def _alias_xtcocotools() -> None:
    import pycocotools
    from pycocotools import coco, cocoeval, mask

    _replace_module("xtcocotools", pycocotools)

    class COCOeval(cocoeval.COCOeval):
        """pycocotools' evaluation with the arguments that xtcocotools adds."""

        def __init__(self, truth, results, iou_type, sigmas=None, use_area=True):
            super().__init__(truth, results, iou_type)
            if not use_area:
                raise ValueError("pycocotools needs the annotations' areas")
            if sigmas is not None:
                self.params.kpt_oks_sigmas = sigmas

    evaluation = types.ModuleType("xtcocotools.cocoeval")
    evaluation.COCOeval = COCOeval
    _replace_module("xtcocotools.coco", coco)
    _replace_module("xtcocotools.cocoeval", evaluation)
    _replace_module("xtcocotools.mask", mask)


def _add_mmdet_utils() -> None:
    import mmengine.dist
    from mmengine.config import ConfigDict

    utils = types.ModuleType("mmdet.utils")
    utils.ConfigType = ConfigDict | dict
    utils.reduce_mean = lambda tensor: mmengine.dist.all_reduce(tensor, op="mean")
    package = types.ModuleType("mmdet")
    package.utils = utils
    _replace_module("mmdet", package)
    _replace_module("mmdet.utils", utils)


def _declare_torchvision_operators() -> None:
    import torch

    schemas = {
        "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
        "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    }
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for schema in schemas.values():
            library.define(schema)
        # The schemas live only as long as the library object does.
        _declare_torchvision_operators.library = library


def _replace_module(name: str, module: types.ModuleType) -> None:
    sys.modules.setdefault(name, module)
