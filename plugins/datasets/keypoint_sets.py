"""Keypoint sets as data: names, flip pairs, skeleton, OKS sigmas. A dataset names one.

The sigmas of COCO-17 were measured on repeated annotations of COCO. Nobody has measured
those of MPII and LSP: a joint that COCO has keeps COCO's, the upper neck and the top of
the head have CrowdPose's (as MMPose 1.3.2 has them in _base_/datasets/crowdpose.py),
the pelvis and the thorax those of the joints beside them, hips and shoulders. So AP on
MPII-16 and LSP-14 compares methods on one dataset, and no dataset with COCO. (MMPose's
own for MPII-16 give the shoulders 0.179, where COCO has 0.079, and the head an eye's.)
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class KeypointSet:
    """What a dataset's keypoints are.

    Attributes:
        name: under which ``KEYPOINT_SETS`` has it.
        names: one per keypoint, in the order of the annotations.
        skeleton: pairs of indices that a limb joins.
        sigmas: per-keypoint standard deviations of OKS.
        lower_body: indices that half-body augmentation counts as lower body.
        pckh: indices that count for PCKh, the share of keypoints within so many head
            sizes; empty where a dataset has no head sizes (PCK is by the box).
    """

    name: str
    names: tuple[str, ...]
    skeleton: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...]
    lower_body: tuple[int, ...]
    pckh: tuple[int, ...] = ()

    def __len__(self) -> int:
        """Number of keypoints."""
        return len(self.names)

    @property
    def flip_indices(self) -> list[int]:
        """Index of each keypoint's mirror image (itself on the body's midline)."""
        swap = {"left": "right", "right": "left"}
        mirrored = []
        for name in self.names:
            side, _, part = name.partition("_")
            mirrored.append(f"{swap[side]}_{part}" if side in swap else name)
        return [self.names.index(name) for name in mirrored]

    @property
    def category(self) -> dict:
        """The person category of a COCO file with these keypoints."""
        return {
            "id": 1,
            "name": "person",
            "supercategory": "person",
            "keypoints": list(self.names),
            "skeleton": [[a + 1, b + 1] for a, b in self.skeleton],
        }


COCO17 = KeypointSet(
    name="coco17",
    names=(
        "nose", "left_eye", "right_eye", "left_ear", "right_ear",
        "left_shoulder", "right_shoulder", "left_elbow", "right_elbow",
        "left_wrist", "right_wrist", "left_hip", "right_hip",
        "left_knee", "right_knee", "left_ankle", "right_ankle",
    ),
    skeleton=(
        (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6),
        (5, 7), (6, 8), (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4),
        (3, 5), (4, 6),
    ),
    sigmas=(
        0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062,
        0.107, 0.107, 0.087, 0.087, 0.089, 0.089,
    ),
    lower_body=(11, 12, 13, 14, 15, 16),
)  # fmt: skip

MPII16 = KeypointSet(
    name="mpii16",
    names=(
        "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee",
        "left_ankle", "pelvis", "thorax", "upper_neck", "head_top", "right_wrist",
        "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist",
    ),
    skeleton=(
        (0, 1), (1, 2), (2, 6), (6, 3), (3, 4), (4, 5), (6, 7), (7, 8), (8, 9),
        (8, 12), (12, 11), (11, 10), (8, 13), (13, 14), (14, 15),
    ),
    sigmas=(
        0.089, 0.087, 0.107, 0.107, 0.087, 0.089, 0.107, 0.079, 0.079, 0.079, 0.062,
        0.072, 0.079, 0.079, 0.072, 0.062,
    ),
    lower_body=(0, 1, 2, 3, 4, 5, 6),
    # All but pelvis and thorax, as MPII's own evaluation has it.
    pckh=(0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15),
)  # fmt: skip

LSP14 = KeypointSet(
    name="lsp14",
    names=(
        "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee",
        "left_ankle", "right_wrist", "right_elbow", "right_shoulder",
        "left_shoulder", "left_elbow", "left_wrist", "upper_neck", "head_top",
    ),
    skeleton=(
        (0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (2, 8), (3, 9), (6, 7), (7, 8),
        (8, 12), (12, 9), (9, 10), (10, 11), (12, 13),
    ),
    sigmas=(
        0.089, 0.087, 0.107, 0.107, 0.087, 0.089, 0.062, 0.072, 0.079, 0.079, 0.072,
        0.062, 0.079, 0.079,
    ),
    lower_body=(0, 1, 2, 3, 4, 5),
)  # fmt: skip

KEYPOINT_SETS = {one.name: one for one in (COCO17, MPII16, LSP14)}


def find_set(name: str) -> KeypointSet:
    """The keypoint set of that name.

    Raises:
        ValueError: there is none; says which there are.
    """
    if name not in KEYPOINT_SETS:
        known = ", ".join(KEYPOINT_SETS)
        raise ValueError(f"keypoint set {name!r}: expected one of {known}")
    return KEYPOINT_SETS[name]


def nearest_set(names: Sequence) -> KeypointSet:
    """The set with most names in common, of those that either has; else COCO-17."""
    given = {name for name in names if isinstance(name, str)}

    def likeness(one: KeypointSet) -> float:
        return len(given.intersection(one.names)) / len(given.union(one.names))

    return max(KEYPOINT_SETS.values(), key=likeness)
