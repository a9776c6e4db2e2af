"""Things around people: seats, mats, what they hold, what stands in front of them."""

import numpy as np

from . import wardrobe
from .camera import heading
from .skeleton import Build, Frame
from .surfaces import Builder
from .wardrobe import Materials

UP = np.eye(3)


def _stuff(rng: np.random.Generator, materials: Materials) -> int:
    """A new material for a thing: painted, wooden or covered with cloth."""
    if rng.random() < 0.4:
        wood = np.array([0.5, 0.34, 0.2]) * rng.uniform(0.5, 1.5)
        return materials.add(wardrobe.plain(rng, wood, 0.04))
    return materials.add(wardrobe.draw_cloth(rng, 0.3), 1.2)


def seat(
    rng: np.random.Generator, shapes: Builder, materials: Materials, top: float
) -> None:
    """A box, stool or chair for a person whose pelvis is above the origin.

    Args:
        rng, shapes, materials: draws, and where the shapes and tiles go.
        top: height of the seat, metres.
    """
    stuff = _stuff(rng, materials)
    wide, deep = rng.uniform(0.2, 0.34), rng.uniform(0.17, 0.21)
    if rng.random() < 0.45:
        shapes.box((0, top / 2, -0.02), UP, (wide, top / 2, deep), stuff)
    else:
        shapes.box((0, top - 0.02, 0), UP, (wide, 0.02, deep), stuff)
        for x in (-0.85, 0.85):
            for z in (-0.85, 0.85):
                place, half = (x * wide, top / 2, z * deep), (0.018, top / 2, 0.018)
                shapes.box(place, UP, half, stuff)
    if rng.random() < 0.4:
        shapes.box((0, top + 0.25, -0.03 - deep), UP, (wide, 0.25, 0.015), stuff)


def mat(
    rng: np.random.Generator, shapes: Builder, materials: Materials, low, high
) -> None:
    """A mat on the floor under the span (x, z) ``low`` to ``high``, metres."""
    middle, half = (np.add(low, high)) / 2, np.subtract(high, low) / 2 + 0.1
    shapes.box(
        (middle[0], -0.01, middle[1]), UP, (half[0], 0.012, half[1]),
        _stuff(rng, materials),
    )  # fmt: skip


def hold(
    rng: np.random.Generator,
    shapes: Builder,
    materials: Materials,
    build: Build,
    frames: dict[str, Frame],
) -> None:
    """A ball, bag, stick or book in one hand."""
    hand = frames[rng.choice(["left_wrist", "right_wrist"])]
    h, turn, stuff = build.stature, hand.rotation, _stuff(rng, materials)
    palm = hand.at(0, -0.07 * h, 0)
    kind = rng.integers(4)
    if kind == 0:
        radius = rng.uniform(0.035, 0.12)
        place = hand.at(0, -0.08 * h - radius, 0.01)
        shapes.ellipsoid(place, turn, (radius,) * 3, stuff)
    elif kind == 1:
        half = (0.05, rng.uniform(0.1, 0.2), rng.uniform(0.1, 0.2))
        shapes.box(palm - [0, half[1] + 0.03, 0], UP, half, stuff)
    elif kind == 2:
        reach = rng.uniform(0.2, 0.7)
        ends = palm - turn[:, 2] * 0.1, palm + turn[:, 2] * reach
        radii = (0.012, rng.choice([0.012, 0.03]))
        shapes.cone(*ends, radii, turn[:, 0], stuff)
        if rng.random() < 0.5:
            blade = (0.012, 0.11, 0.14)
            shapes.ellipsoid(ends[1] + turn[:, 2] * 0.1, turn, blade, stuff)
    else:
        shapes.box(palm + turn[:, 2] * 0.03, turn, (0.012, 0.09, 0.07), stuff)


def occluder(
    rng: np.random.Generator,
    shapes: Builder,
    materials: Materials,
    hidden: np.ndarray,
    toward: np.ndarray,
) -> None:
    """Something that stands on the floor and hides a point from the camera.

    Args:
        rng, shapes, materials: draws, and where the shapes and tiles go.
        hidden: the point (3,), metres.
        toward: vector (3,) from the point to the camera.
    """
    stuff = _stuff(rng, materials)
    place = hidden + toward / np.linalg.norm(toward) * rng.uniform(0.4, 0.9)
    top = max(0.15, place[1] + rng.uniform(0.02, 0.2))
    place = np.array([place[0], top / 2, place[2]])
    axes = heading(rng.uniform(-0.7, 0.7))
    kind = rng.integers(4)
    if kind == 0:
        half = (rng.uniform(0.12, 0.45), top / 2, rng.uniform(0.1, 0.25))
        shapes.box(place, axes, half, stuff)
    elif kind == 1:
        radius = rng.uniform(0.03, 0.1)
        foot, head = place * [1, 0, 1], place * [1, 0, 1] + [0, 3.0, 0]
        shapes.cone(foot, head, (radius, radius * 0.9), axes[:, 2], stuff)
    elif kind == 2:
        for _ in range(7):
            shift = rng.normal(0, [0.16, 0.16 * top, 0.1])
            radii = rng.uniform(0.08, 0.2, 3) * (1, 0.8 + 0.4 * top, 1)
            shapes.ellipsoid(place + shift, axes, radii, stuff)
    else:
        half = (rng.uniform(0.25, 0.7), 0.025, rng.uniform(0.15, 0.3))
        shapes.box(place * [1, 2, 1], axes, half, stuff)
        for x in (-0.9, 0.9):
            leg = place + axes[:, 0] * x * half[0]
            shapes.box(leg, axes, (0.025, top / 2, 0.025), stuff)
