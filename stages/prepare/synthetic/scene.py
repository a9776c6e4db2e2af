"""Scenes: people on a floor, things around them, a light and a camera."""

from dataclasses import dataclass

import numpy as np

from . import props
from .backdrop import Backdrop, draw_backdrop
from .body import Person, build_person, draw_outfit
from .camera import Camera, heading, look_at
from .posing import draw_pose
from .skeleton import draw_build
from .surfaces import Builder, Surfaces, join
from .wardrobe import Materials

SIDES = (170, 440)
"""Shortest and longest image side, px."""
REACH = 0.17
"""Metres that hands, feet and hair reach beyond the keypoints."""
FRONTAL = np.radians(40)
"""Standard deviation of the heading of people who face the camera."""
SPOTS = 8
"""Places that are tried for each further person."""


@dataclass(frozen=True)
class Light:
    """A sun and a sky.

    Attributes:
        toward: unit vector (3,) to the sun.
        sun, sky, ground: linear RGB (3,) of direct light, of light from above and of
            light from below.
    """

    toward: np.ndarray
    sun: np.ndarray
    sky: np.ndarray
    ground: np.ndarray


@dataclass(frozen=True)
class Scene:
    """All that a picture shows.

    Attributes:
        people: those who may be annotated, then passers-by far away.
        surfaces: every shape, people's and things'.
        materials: what the shapes are made of.
        camera, light, backdrop: how it is seen and what lies behind.
    """

    people: list[Person]
    surfaces: Surfaces
    materials: Materials
    camera: Camera
    light: Light
    backdrop: Backdrop


def draw_scene(settings: dict, rng: np.random.Generator, count: int) -> Scene:
    """A random scene with ``count`` people near the camera.

    The world's z points to the viewer: the camera stands somewhere around +z and the
    first person at the origin.
    """
    materials = Materials()
    first, things = draw_person(settings, rng, materials, 0)
    camera = _draw_camera(settings, rng, first)
    people, groups = [first], things
    for owner in range(1, count):
        person, things = draw_person(settings, rng, materials, owner)
        shift = _free_spot(rng, camera, people, person)
        people.append(person.moved(np.eye(3), shift))
        groups += [thing.moved(np.eye(3), shift) for thing in things]
    backdrop = draw_backdrop(rng, rng.uniform(1.5, 8.0))
    for owner in range(count, count + rng.integers(0, 4) * (rng.random() < 0.4)):
        height = rng.uniform(18, 42)
        ahead = camera.focal * 1.7 / height / camera.position[2]
        spot = _spot(rng, camera, ahead)
        if ahead > 1.5 and backdrop.distance(spot) > 0.5:
            person, _ = draw_person(settings, rng, materials, owner)
            people.append(person.moved(np.eye(3), spot))
    if rng.random() < settings["occlusion"]:
        shapes = Builder()
        hidden = first.keypoints[rng.choice([5, 6, 9, 10, 11, 12, 13, 14, 15, 16])]
        toward = camera.position - hidden
        props.occluder(rng, shapes, materials, hidden, toward)
        groups.append(shapes.done())
    groups += [person.surfaces for person in people]
    light = _draw_light(rng, settings)
    return Scene(people, join(groups), materials, camera, light, backdrop)


def draw_person(
    settings: dict, rng: np.random.Generator, materials: Materials, owner: int
) -> tuple[Person, list[Surfaces]]:
    """A person who touches the floor above the origin, and the things that go along."""
    build = draw_build(rng)
    outfit = draw_outfit(rng, build, materials)
    pose, frames = draw_pose(rng, build, settings["pose_variation"])
    person = build_person(build, frames, outfit, owner)
    rise = pose.lift * build.stature - person.surfaces.lowest().min()
    shapes = Builder()
    if rng.random() < 0.2:
        props.hold(rng, shapes, materials, build, frames)
    held = len(shapes.rows)
    if pose.seat and rise > 0.09 * build.stature + 0.12:
        props.seat(rng, shapes, materials, rise - 0.083 * build.stature)
    elif pose.name.startswith("lie") and rng.random() < 0.5:
        floor = person.keypoints[:, [0, 2]]
        props.mat(rng, shapes, materials, floor.min(axis=0), floor.max(axis=0))
    turn = heading(_draw_heading(rng, settings["facing"]))
    lift = np.array([0, rise, 0])
    things = []
    if shapes.rows:
        things.append(shapes.done())
        # What is held rises with the person; what stands on the floor does not.
        things[0].origin[:held] += lift
        things[0] = things[0].moved(turn, np.zeros(3))
    return person.moved(turn, turn @ lift), things


def _draw_heading(rng: np.random.Generator, facing: float) -> float:
    """Angle in radians from facing the viewer: most photos show people so."""
    if rng.random() < facing:
        return rng.normal(0, FRONTAL)
    return rng.uniform(0, 2 * np.pi)


def _draw_camera(settings: dict, rng: np.random.Generator, person: Person) -> Camera:
    """A camera that shows the person at a drawn height and place in the image."""
    target = (person.keypoints.min(axis=0) + person.keypoints.max(axis=0)) / 2
    distance = rng.uniform(2.8, 8.0)
    rise = rng.choice([rng.uniform(-6, 18), rng.uniform(10, 55)], p=[0.75, 0.25])
    rise = np.radians(rise)
    position = target + distance * np.array([0, np.sin(rise), np.cos(rise)])
    position[1] = max(position[1], 0.25)
    rotation = look_at(position, target, np.radians(rng.normal(0, 4)))
    unit = Camera(rotation, position, 1.0, (0.0, 0.0), (1, 1))
    low, high = _box(unit, person.keypoints)
    short, tall = np.log(settings["height"])
    focal = np.exp(rng.uniform(short, tall)) / (high - low).max()
    low, high = low * focal, high * focal
    room = (high - low).max() * rng.uniform(0.8, 1.5, 2)
    size = np.clip(np.maximum(room, 1.02 * (high - low)), *SIDES).astype(int)
    corner = rng.uniform(0, np.maximum(size - (high - low), 0)) - low
    if rng.random() < settings["truncation"]:
        corner += _truncate(rng, low + corner, high + corner, size)
    return Camera(rotation, position, focal, tuple(corner), tuple(map(int, size)))


def _truncate(rng, low, high, size) -> np.ndarray:
    """Shift (2,) in px that moves a part of the box ``low`` to ``high`` out."""
    side = rng.choice(["bottom", "top", "left", "right"], p=[0.5, 0.1, 0.2, 0.2])
    out = rng.uniform(0.1, 0.5 if side == "bottom" else 0.35) * (high - low)
    return {
        "bottom": np.array([0, size[1] + out[1] - high[1]]),
        "top": np.array([0, -out[1] - low[1]]),
        "left": np.array([-out[0] - low[0], 0]),
        "right": np.array([size[0] + out[0] - high[0], 0]),
    }[side]


def _spot(rng: np.random.Generator, camera: Camera, ahead: float) -> np.ndarray:
    """A place on the floor, ``ahead`` times as far as the first person, in view."""
    depth = camera.position[2] * ahead
    column = rng.uniform(0.1, 0.9) * camera.size[0]
    aside = (column - camera.centre[0]) / camera.focal * depth
    return np.array([aside, 0, camera.position[2] - depth])


def _free_spot(
    rng: np.random.Generator, camera: Camera, people: list[Person], person: Person
) -> np.ndarray:
    """A place on the floor (3,) where a person is seen well and hides few others."""
    boxes = [_box(camera, other.keypoints) for other in people]
    best = (-np.inf, np.zeros(3))
    for _ in range(SPOTS):
        spot = _spot(rng, camera, rng.uniform(0.85, 1.7))
        low, high = box = _box(camera, person.keypoints + spot)
        inside = _shared(box, (np.zeros(2), np.array(camera.size)))
        hidden = max(_shared(box, other) for other in boxes)
        tall = min((high - low).max() / 90, 1)
        best = max(best, (2 * inside + tall - hidden, spot), key=lambda one: one[0])
    return best[1]


def _box(camera: Camera, keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners (2,), (2,) in px of a box about a person's keypoints, hands and feet."""
    points, depth = camera.project(keypoints)
    margin = REACH * camera.focal / depth.mean()
    return points.min(axis=0) - margin, points.max(axis=0) + margin


def _shared(one: tuple, other: tuple) -> float:
    """Share of one box that lies in another."""
    common = np.minimum(one[1], other[1]) - np.maximum(one[0], other[0])
    return float(np.prod(np.maximum(common, 0)) / np.prod(one[1] - one[0]))


def _draw_light(rng: np.random.Generator, settings: dict) -> Light:
    """Bright or overcast, warm or cold, mostly from the camera's side and above."""
    around, height = rng.normal(0, 1.1), rng.uniform(0.35, 1.3)
    toward = heading(around) @ [0, np.sin(height), np.cos(height)]
    warm = rng.normal(0, 0.07)
    tint = np.array([1 + warm, 1.0, 1 - warm])
    direct = rng.uniform(0.15, 0.75) * settings["contrast"]
    level = rng.uniform(0.8, 1.15)
    return Light(
        toward,
        sun=direct * 1.15 * level * tint,
        sky=(1 - 0.6 * direct) * level * np.array([0.95, 1.0, 1.05]) * 0.8,
        ground=(1 - 0.6 * direct) * level * 0.45 * tint,
    )
