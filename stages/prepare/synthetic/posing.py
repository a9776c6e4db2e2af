"""Random variation of poses: joints within their limits, limbs outside one another."""

import numpy as np
from scipy.spatial.transform import Rotation

from .poses import POSES, Pose
from .skeleton import LIMITS, Build, Frame, forward_kinematics

SPREAD = 8.0
"""Standard deviation of every joint angle around its pose, degrees."""
TRIES = 6
TOUCH = 0.03
"""Limbs that sink into one another by more than this (metres) are drawn again."""


def draw_pose(
    rng: np.random.Generator, build: Build, variation: float = 1.0
) -> tuple[Pose, dict[str, Frame]]:
    """A pose and its frames, joints within limits and limbs apart.

    Args:
        rng: source of all draws.
        build: the body that takes the pose.
        variation: factor on ``SPREAD``.
    """
    makers = list(POSES)
    chosen = makers[rng.choice(len(makers), p=np.array(list(POSES.values())))]
    best: tuple = (np.inf, None, None)
    for _ in range(TRIES):
        pose = chosen(rng)
        noise = rng.normal(0, SPREAD * variation, pose.table.shape)
        # The trunk is several joints in a row: each takes a share.
        noise[:4] *= 0.6
        pose.table = np.clip(pose.table + noise, LIMITS[..., 0], LIMITS[..., 1])
        root = np.array(pose.root) + rng.normal(0, 4 * variation, 2)
        turn = Rotation.from_euler("xz", [root[0], -root[1]], degrees=True)
        frames = forward_kinematics(build, pose.table, turn.as_matrix())
        sunk = overlap(frames, build)
        if sunk < best[0]:
            best = (sunk, pose, frames)
        if sunk < TOUCH:
            break
    return best[1], best[2]


_CAPSULES = {  # start, end, radius as a fraction of stature
    "belly": ("pelvis", "chest", 0.062),
    "breast": ("chest", "neck", 0.058),
    "skull": ("head", "crown", 0.045),
    "left_upper_arm": ("left_shoulder", "left_elbow", 0.022),
    "right_upper_arm": ("right_shoulder", "right_elbow", 0.022),
    "left_forearm": ("left_elbow", "left_hand", 0.018),
    "right_forearm": ("right_elbow", "right_hand", 0.018),
    "left_thigh": ("left_hip", "left_knee", 0.036),
    "right_thigh": ("right_hip", "right_knee", 0.036),
    "left_shin": ("left_knee", "left_toes", 0.024),
    "right_shin": ("right_knee", "right_toes", 0.024),
}
_JOINED = [
    {"belly", "breast"}, {"breast", "skull"}, {"belly", "left_thigh"},
    {"belly", "right_thigh"}, {"left_thigh", "right_thigh"},
    {"breast", "left_thigh"}, {"breast", "right_thigh"},
    *({"breast", f"{s}_upper_arm"} for s in ("left", "right")),
    *({"belly", f"{s}_upper_arm"} for s in ("left", "right")),
    *({f"{s}_upper_arm", f"{s}_forearm"} for s in ("left", "right")),
    *({f"{s}_thigh", f"{s}_shin"} for s in ("left", "right")),
]  # fmt: skip
_PAIRS = np.array(
    [
        (i, j)
        for i, one in enumerate(_CAPSULES)
        for j, two in enumerate(_CAPSULES)
        if i < j and {one, two} not in _JOINED
    ]
)


def overlap(frames: dict[str, Frame], build: Build) -> float:
    """How deep, in metres, limbs that are not joined sink into one another at most."""
    height = build.stature
    ends = {name: frame.origin for name, frame in frames.items()}
    ends["crown"] = frames["head"].at(0, 0.09 * height, 0)
    for side in ("left", "right"):
        ends[f"{side}_hand"] = frames[f"{side}_wrist"].at(0, -0.08 * height, 0)
        ends[f"{side}_toes"] = frames[f"{side}_ankle"].at(0, -0.02 * height, 0)
    start = np.array([ends[a] for a, _, _ in _CAPSULES.values()])
    end = np.array([ends[b] for _, b, _ in _CAPSULES.values()])
    radius = height * np.array([r for _, _, r in _CAPSULES.values()])
    share = np.linspace(0, 1, 6)[:, None]
    points = start[:, None] * (1 - share) + end[:, None] * share
    one, two = _PAIRS.T
    apart = points[one][:, :, None] - points[two][:, None]
    nearest = np.linalg.norm(apart, axis=-1).min(axis=(1, 2))
    return float((radius[one] + radius[two] - nearest).max())
