"""A person as surfaces: limbs, head, hair and clothes around a posed skeleton."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from . import wardrobe
from .skeleton import Build, Frame
from .surfaces import Builder, Surfaces
from .wardrobe import Materials

SIDES = (("left", 1.0), ("right", -1.0))

KEYPOINT_RADII = np.array(
    [0.012, *[0.012] * 2, *[0.02] * 2, *[0.042] * 2, *[0.032] * 2, *[0.024] * 2,
     *[0.08] * 2, *[0.045] * 2, *[0.034] * 2]
)  # fmt: skip
"""How deep each COCO keypoint lies under its own surface, fraction of stature."""


@dataclass
class Person:
    """A body in the world.

    Attributes:
        surfaces: its shapes.
        keypoints: (17, 3) COCO keypoints in metres; eyes, nose and ears on the
            surface, the others the centres of the joints.
        radii: (17,) how deep each lies under its own surface, metres.
    """

    surfaces: Surfaces
    keypoints: np.ndarray
    radii: np.ndarray

    def moved(self, rotation: np.ndarray, shift: np.ndarray) -> "Person":
        """The same person after ``p -> rotation @ p + shift``."""
        return Person(
            self.surfaces.moved(rotation, shift),
            self.keypoints @ rotation.T + shift,
            self.radii,
        )


@dataclass(frozen=True)
class Outfit:
    """Materials of a person and the cut of the clothes.

    Attributes:
        skin, face, hair, top, legs, shoes, hat: indices of materials.
        sleeve: share of the arm that is covered, 0 to 2 (1 is the elbow).
        leg: share of the leg that is covered, 0 to 2 (1 is the knee).
        slack: how much wider than the limb the cloth is.
        skirt: 0 for none, else the share of the thigh that it covers.
        style: of the hair.
    """

    skin: int
    face: int
    hair: int
    top: int
    legs: int
    shoes: int
    hat: int
    sleeve: float
    leg: float
    slack: float
    skirt: float
    style: str


STYLES = {
    "short": 0.42, "long": 0.16, "ponytail": 0.1, "bun": 0.06, "curly": 0.07,
    "cap": 0.1, "bald": 0.09,
}  # fmt: skip


def draw_outfit(rng: np.random.Generator, build: Build, materials: Materials) -> Outfit:
    """Random skin, hair and clothes; their tiles are added to ``materials``."""
    skin, hair = wardrobe.skin_and_hair(rng)
    top = wardrobe.draw_cloth(rng)
    if rng.random() < 0.3:
        top = wardrobe.with_print(rng, top)
    skirted = rng.random() < (0.25 if build.bust > 0 else 0.02)
    top_index = materials.add(top)
    dress = skirted and rng.random() < 0.5
    head = head_height(build)
    eyes, mouth = (0.135 * head, 0.2 * head), -0.07 * head
    face = wardrobe.face(rng, skin, hair, 2 * head, eyes, mouth)
    shorts = rng.random() < 0.3
    return Outfit(
        skin=materials.add(wardrobe.plain(rng, skin, 0.012)),
        face=materials.add(face, 2 * head),
        hair=materials.add(wardrobe.plain(rng, hair, 0.035), 0.4),
        top=top_index,
        legs=top_index if dress else materials.add(wardrobe.draw_cloth(rng, 0.2)),
        shoes=materials.add(wardrobe.plain(rng, wardrobe.draw_colour(rng), 0.02)),
        hat=materials.add(wardrobe.draw_cloth(rng, 0.2)),
        sleeve=rng.choice([0.0, 0.5, 0.6, 1.3, 1.97], p=[0.1, 0.3, 0.15, 0.07, 0.38]),
        leg=0.0 if skirted else rng.uniform(0.4, 1.0) if shorts else 1.95,
        slack=rng.uniform(1.06, 1.35),
        skirt=rng.uniform(0.5, 1.0) if skirted else 0.0,
        style=rng.choice(list(STYLES), p=list(STYLES.values())),
    )


def head_height(build: Build) -> float:
    """Chin to crown, metres (Drillis and Contini: 0.130 of stature)."""
    return 0.13 * build.stature * build.head


def build_person(
    build: Build, frames: dict[str, Frame], outfit: Outfit, owner: int
) -> Person:
    """Surfaces and keypoints of a posed body, pelvis at the origin."""
    shapes = Builder(owner)
    _trunk(shapes, build, frames, outfit)
    for side, sign in SIDES:
        _arm(shapes, build, frames, outfit, side)
        _leg(shapes, build, frames, outfit, side, sign)
    if outfit.skirt:
        _skirt(shapes, build, frames, outfit)
    nose, eyes, ears = _head(shapes, build, frames, outfit)
    _hair(shapes, build, frames, outfit)
    joints = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    body = [frames[f"{side}_{name}"].origin for name in joints for side, _ in SIDES]
    keypoints = np.array([nose, *eyes, *ears, *body])
    return Person(shapes.done(), keypoints, KEYPOINT_RADII * build.stature)


def _limb(shapes, start, end, front, profile, cloth, covered, slack, skin) -> None:
    """Round cones along a limb; ``profile`` lists (share of its length, radius).

    Cloth covers the share ``covered`` of it and stands off by the factor ``slack``.
    """
    for (s0, r0), (s1, r1) in pairwise(profile):
        a, b = start + (end - start) * s0, start + (end - start) * s1
        if covered < s1:
            shapes.cone(a, b, (r0, r1), front, skin)
        if covered > s0:
            share = min(1.0, (covered - s0) / (s1 - s0))
            hem = r0 + (r1 - r0) * share
            radii = (r0 * slack, hem * slack)
            shapes.cone(a, a + (b - a) * share, radii, front, cloth)


def _trunk(shapes: Builder, build: Build, frames: dict[str, Frame], outfit: Outfit):
    h, wide = build.stature, np.sqrt(build.girth)
    pelvis, spine, chest = frames["pelvis"], frames["spine"], frames["chest"]
    hip = 0.086 * h * build.hips * wide
    waist = 0.07 * h * build.girth * (1 + 0.12 * build.belly)
    breast = 0.089 * h * build.shoulders * wide
    deep = 0.7 + 0.22 * build.belly
    front = [frame.rotation[:, 2] for frame in (pelvis, spine, chest)]
    shapes.cone(
        pelvis.at(0, 0, -0.006 * h), spine.at(0, 0.01 * h, 0), (hip, waist * 1.03),
        front[0], outfit.legs, (1, 0.8, 0.76),
    )  # fmt: skip
    shapes.cone(
        spine.at(0, 0.0, 0), chest.at(0, 0.04 * h, 0), (waist * 1.05, breast * 0.94),
        front[1], outfit.top, (1, 0.8, deep),
    )  # fmt: skip
    shapes.cone(
        chest.at(0, 0.035 * h, 0), chest.at(0, 0.108 * h, -0.006 * h),
        (breast * 0.95, breast), front[2], outfit.top, (1, 0.5, 0.72),
    )  # fmt: skip
    if build.belly > 0.05:
        out = np.array([0.066, 0.07, 0.04 + 0.035 * build.belly]) * h * wide
        place = spine.at(0, 0.02 * h, 0.028 * h)
        shapes.ellipsoid(place, spine.rotation, out, outfit.top)
    neck = frames["neck"]
    for side, sign in SIDES:
        cup = np.array([0.036, 0.036, 0.024 + 0.014 * build.bust]) * h
        if build.bust:
            place = chest.at(sign * 0.04 * h, 0.066 * h, 0.046 * h)
            shapes.ellipsoid(place, chest.rotation, cup, outfit.top)
        place = pelvis.at(sign * 0.042 * h * build.hips, -0.028 * h, -0.03 * h)
        seat = np.array([0.046, 0.052, 0.042]) * h * wide
        shapes.ellipsoid(place, pelvis.rotation, seat, outfit.legs)
        shoulder = frames[f"{side}_shoulder"].origin
        inner = neck.at(sign * 0.018 * h, -0.012 * h, -0.006 * h)
        radii = (0.026 * h * wide, 0.033 * h * wide)
        shapes.cone(inner, shoulder, radii, front[2], outfit.top)
    thick = 0.031 * h * wide
    nape = frames["head"].at(0, 0.03 * h, 0.004 * h)
    shapes.cone(
        neck.at(0, -0.015 * h, -0.004 * h), nape, (1.12 * thick, thick), front[2],
        outfit.skin,
    )  # fmt: skip


def _arm(shapes: Builder, build: Build, frames, outfit: Outfit, side: str) -> None:
    h, g = build.stature, build.girth
    names = ("shoulder", "elbow", "wrist")
    shoulder, elbow, wrist = (frames[f"{side}_{name}"] for name in names)
    style = (outfit.top, outfit.sleeve, outfit.slack, outfit.skin)
    front = shoulder.rotation[:, 2]
    upper = [(0, 0.0335 * h * g), (0.4, 0.029 * h * g), (1, 0.0235 * h * g)]
    _limb(shapes, shoulder.origin, elbow.origin, front, upper, *style)
    style = (outfit.top, outfit.sleeve - 1, outfit.slack, outfit.skin)
    lower = [(0, 0.0235 * h * g), (0.28, 0.0245 * h * g), (1, 0.0155 * h * np.sqrt(g))]
    front = elbow.rotation[:, 2]
    _limb(shapes, elbow.origin, wrist.origin, front, lower, *style)
    front = wrist.rotation[:, 2]
    palm, tips = wrist.at(0, -0.05 * h, 0.002 * h), wrist.at(0, -0.096 * h, 0.006 * h)
    thin = (0.5, 1, 1)
    shapes.cone(wrist.origin, palm, (0.0165 * h, 0.0235 * h), front, outfit.skin, thin)
    shapes.cone(palm, tips, (0.0225 * h, 0.013 * h), front, outfit.skin, thin)
    root, thumb = wrist.at(0, -0.02 * h, 0.012 * h), wrist.at(0, -0.052 * h, 0.034 * h)
    shapes.cone(root, thumb, (0.009 * h, 0.007 * h), front, outfit.skin)


def _leg(shapes, build: Build, frames, outfit: Outfit, side: str, sign: float) -> None:
    h, g = build.stature, build.girth
    hip, knee, ankle = (frames[f"{side}_{n}"] for n in ("hip", "knee", "ankle"))
    style = (outfit.legs, outfit.leg, outfit.slack, outfit.skin)
    thigh = [(0, 0.052 * h * g), (0.5, 0.045 * h * g), (1, 0.0325 * h * g)]
    front = hip.rotation[:, 2]
    _limb(shapes, hip.origin, knee.origin, front, thigh, *style)
    style = (outfit.legs, outfit.leg - 1, outfit.slack, outfit.skin)
    calf = [(0, 0.0325 * h * g), (0.3, 0.0335 * h * g), (1, 0.021 * h * np.sqrt(g))]
    front = knee.rotation[:, 2]
    _limb(shapes, knee.origin, ankle.origin, front, calf, *style)
    front = ankle.rotation[:, 2]
    heel, ball = ankle.at(0, -0.02 * h, -0.016 * h), ankle.at(0, -0.026 * h, 0.07 * h)
    toes = ankle.at(-sign * 0.003 * h, -0.031 * h, 0.11 * h)
    wide = (1.05, 1, 1)
    shapes.cone(heel, ball, (0.025 * h, 0.022 * h), front, outfit.shoes, wide)
    shapes.cone(ball, toes, (0.022 * h, 0.0155 * h), front, outfit.shoes, wide)


def _skirt(shapes: Builder, build: Build, frames, outfit: Outfit) -> None:
    """Cloth over each thigh and between the two: it follows a stride and a seat."""
    h, hems = build.stature, []
    for side, _ in SIDES:
        hip, knee = frames[f"{side}_hip"], frames[f"{side}_knee"]
        hem = hip.origin + (knee.origin - hip.origin) * outfit.skirt
        hems.append(hem)
        radii = (0.06 * h * build.girth, 0.05 * h * outfit.slack)
        shapes.cone(hip.origin, hem, radii, hip.rotation[:, 2], outfit.legs)
    pelvis = frames["pelvis"]
    radii = (0.07 * h, 0.055 * h * outfit.slack)
    middle, front = (hems[0] + hems[1]) / 2, pelvis.rotation[:, 2]
    shapes.cone(pelvis.origin, middle, radii, front, outfit.legs, (1.2, 1, 0.9))


def _head(shapes: Builder, build: Build, frames, outfit: Outfit) -> tuple:
    """Face, nose and ears; returns the nose, both eyes and both ears in the world."""
    e, frame = head_height(build), frames["head"]
    front = frame.rotation[:, 2]
    jaw, skull = frame.at(0, 0.26 * e, 0.05 * e), frame.at(0, 0.6 * e, 0)
    shapes.cone(jaw, skull, (0.255 * e, 0.335 * e), front, outfit.face, (1, 1, 1.18))
    bridge, tip = frame.at(0, 0.5 * e, 0.375 * e), frame.at(0, 0.375 * e, 0.42 * e)
    shapes.cone(bridge, tip, (0.035 * e, 0.055 * e), front, outfit.skin)
    nose = frame.at(0, 0.37 * e, 0.475 * e)
    eyes, ears = [], []
    for _, sign in SIDES:
        eyes.append(frame.at(sign * 0.145 * e, 0.47 * e, 0.355 * e))
        ears.append(frame.at(sign * 0.335 * e, 0.45 * e, -0.02 * e))
        lobe = np.array([0.04, 0.115, 0.07]) * e
        shapes.ellipsoid(ears[-1], frame.rotation, lobe, outfit.skin)
    return nose, eyes, ears


def _hair(shapes: Builder, build: Build, frames, outfit: Outfit) -> None:
    if outfit.style == "bald":
        return
    e, frame, style = head_height(build), frames["head"], outfit.style
    front = frame.rotation[:, 2]
    cover = outfit.hat if style == "cap" else outfit.hair
    puff = 1.22 if style == "curly" else 1.0
    radii = np.array([0.372 * puff, 0.375 * puff, 0.425 * puff]) * e
    back = 0.05 if puff == 1 else 0.13
    shapes.ellipsoid(frame.at(0, 0.625 * e, -back * e), frame.rotation, radii, cover)
    if style == "cap":
        brim = np.array([0.3, 0.035, 0.3]) * e
        shapes.ellipsoid(frame.at(0, 0.76 * e, 0.36 * e), frame.rotation, brim, cover)
    elif style == "bun":
        shapes.ellipsoid(
            frame.at(0, 0.93 * e, -0.3 * e), frame.rotation, (0.16 * e,) * 3, cover
        )
    elif style == "ponytail":
        root, tip = frame.at(0, 0.75 * e, -0.46 * e), frame.at(0, 0.05 * e, -0.55 * e)
        shapes.cone(root, tip, (0.1 * e, 0.05 * e), front, cover)
    elif style == "long":
        root, tip = frame.at(0, 0.55 * e, -0.2 * e), frame.at(0, -0.15 * e, -0.24 * e)
        shapes.cone(root, tip, (0.355 * e, 0.25 * e), front, cover, (1.05, 1, 0.68))
