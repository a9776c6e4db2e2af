"""MMPose from wheels alone: importable, quiet, and honest about what is missing."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from plugins import mmpose_compat

TOP = Path(__file__).parent.parent
LITE = importlib.util.find_spec("mmcv._ext") is None


def run(code: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, cwd=TOP)


def test_mmpose_is_imported_without_a_word():
    code = "from plugins import mmpose_compat; mmpose_compat.install()\n"
    code += "import mmpose.models, mmpose.codecs, mmpose.evaluation, torchvision\n"
    code += "print(mmpose.__version__)\n"
    done = run(code)
    assert (done.returncode, done.stdout) == (0, "1.3.2\n"), done.stderr
    assert done.stderr == ""


def test_a_second_call_changes_nothing():
    before = dict(sys.modules)
    mmpose_compat.install()
    assert {name: sys.modules[name] for name in before} == before


def test_xtcocotools_is_pycocotools():
    from pycocotools.cocoeval import COCOeval
    from xtcocotools import cocoeval

    assert issubclass(cocoeval.COCOeval, COCOeval)


@pytest.mark.skipif(not LITE, reason="the full mmcv is installed")
def test_compiled_operators_say_what_is_missing():
    from mmcv.ops import DeformConv2d, MultiScaleDeformableAttention

    for operator in (DeformConv2d, MultiScaleDeformableAttention):
        with pytest.raises(
            ImportError, match=f"{operator.__name__} needs the full mmcv"
        ):
            operator(3, 3)


def test_an_installed_package_is_not_replaced():
    """A stand-in only where nothing is: here, a real mmdet first on the path."""
    code = "import sys, types; real = types.ModuleType('mmdet')\n"
    code += "real.__spec__ = __import__('importlib.machinery').machinery.ModuleSpec("
    code += "'mmdet', None)\nsys.modules['mmdet'] = real\n"
    code += "from plugins import mmpose_compat; mmpose_compat.install()\n"
    code += "assert sys.modules['mmdet'] is real and 'mmdet.utils' not in sys.modules\n"
    done = run(code)
    assert done.returncode == 0, done.stderr
