"""The stage evaluate: every decoder that fits a trained cell, by COCO's AP.

Annotated or detected boxes, flip test, keypoints back in the pixels of the original
images.
"""

from plugins import mmpose_compat

mmpose_compat.install()
