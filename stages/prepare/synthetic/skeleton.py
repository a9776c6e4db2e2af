"""Articulated skeleton: builds, joint limits, forward kinematics.

World axes: y up, metres. The body's own axes: x to its left, y up, z to its front.
At rest the person stands upright, arms hanging, palms inward.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation


@dataclass(frozen=True)
class Joint:
    """A joint: its parent, the signs of its axes and its limits.

    Attributes:
        parent: name of the joint whose frame this one turns in.
        signs: turns about (x, z, y) that (flexion, sideways, twist) are positive for.
        limits: (low, high) in degrees of flexion, sideways and twist. Sideways is
            abduction of a limb; a positive twist turns a limb inward.
    """

    parent: str
    signs: tuple[int, int, int]
    limits: tuple[tuple[float, float], ...]


def _sides(name: str, parent: str, flexion: int, limits: tuple) -> dict[str, Joint]:
    """The same joint on both sides, mirrored."""
    shared = parent in ("pelvis", "chest")
    return {
        f"left_{name}": Joint(
            parent if shared else f"left_{parent}", (flexion, 1, -1), limits
        ),
        f"right_{name}": Joint(
            parent if shared else f"right_{parent}", (flexion, -1, 1), limits
        ),
    }


FIXED = (0.0, 0.0)
JOINTS: dict[str, Joint] = {
    "spine": Joint("pelvis", (1, -1, 1), ((-25, 55), (-20, 20), (-20, 20))),
    "chest": Joint("spine", (1, -1, 1), ((-15, 30), (-15, 15), (-25, 25))),
    "neck": Joint("chest", (1, -1, 1), ((-30, 35), (-15, 15), (-35, 35))),
    "head": Joint("neck", (1, -1, 1), ((-25, 25), (-20, 20), (-40, 40))),
    **_sides("shoulder", "chest", -1, ((-55, 175), (-35, 165), (-80, 85))),
    **_sides("elbow", "shoulder", -1, ((0, 145), FIXED, (-60, 60))),
    **_sides("wrist", "elbow", -1, ((-55, 65), (-20, 20), FIXED)),
    **_sides("hip", "pelvis", -1, ((-30, 125), (-20, 60), (-45, 40))),
    **_sides("knee", "hip", 1, ((0, 145), FIXED, FIXED)),
    **_sides("ankle", "knee", -1, ((-45, 25), (-15, 15), FIXED)),
}
"""Parents before children. Ranges of motion: American Academy of Orthopaedic
Surgeons, Joint Motion (1965), rounded; the trunk's is shared by spine and chest."""

LIMITS = np.array([joint.limits for joint in JOINTS.values()], dtype=float)
"""(J, 3, 2) degrees."""


@dataclass(frozen=True)
class Build:
    """Body shape. Lengths are derived from the stature.

    Attributes:
        stature: body height in metres.
        girth: thickness of trunk and limbs, 1 is average.
        shoulders, hips: widths, 1 is average.
        legs: leg length, 1 is average.
        head: head size, 1 is average for an adult.
        bust, belly: how far they stand out, 0 to 1.
    """

    stature: float = 1.72
    girth: float = 1.0
    shoulders: float = 1.0
    hips: float = 1.0
    legs: float = 1.0
    head: float = 1.0
    bust: float = 0.0
    belly: float = 0.0


def draw_build(rng: np.random.Generator) -> Build:
    """A random body: child or adult, narrow or heavy."""
    if rng.random() < 0.15:
        stature = rng.uniform(1.05, 1.45)
        return Build(
            stature=stature,
            girth=rng.uniform(0.92, 1.15),
            legs=rng.uniform(0.9, 0.98),
            head=1.0 + 0.55 * (1.6 - stature),
        )
    curved = rng.random() < 0.5
    girth = float(np.clip(rng.lognormal(0.0, 0.14), 0.8, 1.4))
    return Build(
        stature=float(np.clip(rng.normal(1.65 if curved else 1.77, 0.07), 1.48, 2.0)),
        girth=girth,
        shoulders=rng.normal(0.93 if curved else 1.04, 0.03),
        hips=rng.normal(1.08 if curved else 0.97, 0.03),
        legs=float(np.clip(rng.normal(1.0, 0.025), 0.94, 1.06)),
        bust=rng.uniform(0.4, 1.0) if curved else 0.0,
        belly=float(np.clip(2.5 * (girth - 1.08) + rng.normal(0, 0.2), 0, 1)),
    )


def bone_offsets(build: Build) -> dict[str, np.ndarray]:
    """Where each joint lies in its parent's frame at rest, in metres.

    Segment lengths as fractions of stature: Drillis and Contini (1966), as in
    Winter, Biomechanics and Motor Control of Human Movement, figure 4.1.
    """
    h, legs = build.stature, build.legs
    offsets = {
        "spine": (0, 0.055 * h, 0),
        "chest": (0, 0.08 * h, 0),
        "neck": (0, 0.165 * h, -0.005 * h),
        "head": (0, 0.045 * h, 0.008 * h),
    }
    for side, sign in (("left", 1), ("right", -1)):
        offsets |= {
            f"{side}_shoulder": (sign * 0.107 * h * build.shoulders, 0.142 * h, 0),
            f"{side}_elbow": (0, -0.172 * h, 0),
            f"{side}_wrist": (0, -0.150 * h, 0),
            f"{side}_hip": (sign * 0.054 * h * build.hips, -0.005 * h, 0),
            f"{side}_knee": (0, -0.243 * h * legs, 0),
            f"{side}_ankle": (0, -0.242 * h * legs, 0),
        }
    return {name: np.array(offset, dtype=float) for name, offset in offsets.items()}


@dataclass(frozen=True)
class Frame:
    """A joint's own axes (columns of ``rotation``) and its place in the world."""

    rotation: np.ndarray
    origin: np.ndarray

    def at(self, *offset: float) -> np.ndarray:
        """World position (3,) of a point given in this frame, metres."""
        return self.rotation @ np.array(offset) + self.origin


def joint_rotations(angles: np.ndarray) -> np.ndarray:
    """Local rotations (J, 3, 3) of angles (J, 3) in degrees: swing, after a twist.

    Flexion and sideways motion are one rotation vector, so that no order of Euler
    angles makes an arm lock when it is raised.
    """
    signs = np.array([joint.signs for joint in JOINTS.values()])
    signed = np.radians(angles) * signs
    swing = np.zeros_like(signed)
    swing[:, 0], swing[:, 2] = signed[:, 0], signed[:, 1]
    twist = np.zeros_like(signed)
    twist[:, 1] = signed[:, 2]
    turn = Rotation.from_rotvec(swing) * Rotation.from_rotvec(twist)
    return turn.as_matrix()


def forward_kinematics(
    build: Build, angles: np.ndarray, root: np.ndarray
) -> dict[str, Frame]:
    """Frames of the pelvis and of every joint, pelvis at the origin.

    Args:
        build: the body.
        angles: (J, 3) degrees, in the order of ``JOINTS``.
        root: (3, 3) rotation of the pelvis.
    """
    offsets = bone_offsets(build)
    turns = joint_rotations(angles)
    frames = {"pelvis": Frame(np.asarray(root, dtype=float), np.zeros(3))}
    for (name, joint), turn, angle in zip(JOINTS.items(), turns, angles, strict=True):
        parent = frames[joint.parent]
        offset = offsets[name]
        if name.endswith("shoulder"):
            # The collarbone lifts the shoulder with the raised arm.
            raised = np.clip((np.hypot(angle[0], angle[1]) - 60) / 120, 0, 1)
            offset = offset + raised * build.stature * np.array(
                [-0.15 * offset[0] / build.stature, 0.03, 0]
            )
        frames[name] = Frame(parent.rotation @ turn, parent.at(*offset))
    return frames
