"""Keypoint sets as data: names, flip pairs, skeleton and OKS sigmas."""

from dataclasses import dataclass


@dataclass(frozen=True)
class KeypointSet:
    """What a dataset's keypoints are.

    Attributes:
        names: one per keypoint, in the order of the annotations.
        skeleton: pairs of indices that a limb joins.
        sigmas: per-keypoint standard deviations of OKS (pycocotools).
        lower_body: indices that half-body augmentation counts as lower body.
    """

    names: tuple[str, ...]
    skeleton: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...]
    lower_body: tuple[int, ...]

    @property
    def flip_indices(self) -> list[int]:
        """Index of each keypoint's mirror image (itself on the body's midline)."""
        swap = {"left": "right", "right": "left"}
        mirrored = []
        for name in self.names:
            side, _, part = name.partition("_")
            mirrored.append(f"{swap[side]}_{part}" if side in swap else name)
        return [self.names.index(name) for name in mirrored]


COCO17 = KeypointSet(
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
