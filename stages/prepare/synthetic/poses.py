"""Poses: what people do, as joint angles."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .skeleton import JOINTS

Angles = dict[str, tuple[float, ...]]


@dataclass
class Pose:
    """A posture.

    Attributes:
        name: what the person does.
        angles: degrees (flexion, sideways, twist) per joint; trailing and missing
            ones are 0.
        root: turns of the pelvis in degrees, (forward, leftward), before the heading.
        seat: the person sits on something.
        lift: height above the ground as a fraction of stature.
    """

    name: str
    angles: Angles
    root: tuple[float, float] = (0.0, 0.0)
    seat: bool = False
    lift: float = 0.0
    table: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.table = np.zeros((len(JOINTS), 3))
        rows = list(JOINTS)
        for name, angles in self.angles.items():
            self.table[rows.index(name), : len(angles)] = angles


def _both(**angles: tuple[float, ...]) -> Angles:
    """The same angles on both sides."""
    sides = ("left", "right")
    return {f"{side}_{name}": value for name, value in angles.items() for side in sides}


def _one(side: str, **angles: tuple[float, ...]) -> Angles:
    return {f"{side}_{name}": value for name, value in angles.items()}


def _sides(rng: np.random.Generator) -> tuple[str, str]:
    return ("left", "right") if rng.random() < 0.5 else ("right", "left")


ARMS: dict[str, Angles] = {
    "hang": dict(shoulder=(4, 10, 10), elbow=(14,)),
    "hip": dict(shoulder=(-22, 42, 62), elbow=(92,), wrist=(20,)),
    "wave": dict(shoulder=(20, 95, -60), elbow=(85,)),
    "phone": dict(shoulder=(38, 30, -5), elbow=(138,)),
    "point": dict(shoulder=(88, 15, 0), elbow=(8,)),
    "aside": dict(shoulder=(5, 88, 0), elbow=(12,)),
    "up": dict(shoulder=(158, 30, 0), elbow=(16,)),
    "carry": dict(shoulder=(22, 8, 5), elbow=(88,)),
    "fold": dict(shoulder=(34, 10, 62), elbow=(104,)),
    "lap": dict(shoulder=(30, 8, 22), elbow=(52,)),
    "behind": dict(shoulder=(-32, 12, 30), elbow=(38,)),
    "head": dict(shoulder=(70, 112, -40), elbow=(132,)),
    "drink": dict(shoulder=(52, 18, 28), elbow=(128,)),
}


def _arms(rng: np.random.Generator, *names: str) -> Angles:
    """Both arms alike or, half of the time, each its own of the named gestures."""
    first = rng.choice(names)
    second = first if rng.random() < 0.5 else rng.choice(names)
    return _one("left", **ARMS[first]) | _one("right", **ARMS[second])


def stand(rng: np.random.Generator) -> Pose:
    spread = rng.uniform(2, 16)
    shift = rng.uniform(0, 22) * (rng.random() < 0.5)
    side, _ = _sides(rng)
    legs = _both(hip=(2, spread, -8), knee=(4,), ankle=(2,))
    legs |= _one(side, hip=(shift, spread, -10), knee=(shift * 1.6,), ankle=(0,))
    arms = _arms(
        rng, "hang", "hang", "hip", "wave", "phone", "point", "aside", "up", "carry",
        "fold", "behind", "head", "drink",
    )  # fmt: skip
    return Pose("stand", legs | arms | {"neck": (8, 0, rng.uniform(-30, 30))})


def walk(rng: np.random.Generator) -> Pose:
    phase, stride = rng.uniform(0, 2 * np.pi), rng.uniform(0.7, 1.2)
    angles: Angles = {"spine": (3, 0, 8 * np.sin(phase))}
    for side, at in (("left", phase), ("right", phase + np.pi)):
        swing = np.sin(at)
        bend = 6 + 50 * max(0.0, np.cos(at)) ** 2 * stride
        angles |= _one(
            side, hip=(6 + 26 * swing * stride, 2), knee=(bend,), ankle=(8 * swing,),
            shoulder=(-24 * swing * stride, 9, 8), elbow=(18 - 14 * swing,),
        )  # fmt: skip
    return Pose("walk", angles, root=(3, 0))


def run(rng: np.random.Generator) -> Pose:
    phase, effort = rng.uniform(0, 2 * np.pi), rng.uniform(0.7, 1.2)
    angles: Angles = {"spine": (8, 0, 10 * np.sin(phase)), "neck": (-8,)}
    for side, at in (("left", phase), ("right", phase + np.pi)):
        swing = np.sin(at)
        bend = 18 + 92 * max(0.0, np.cos(at + 0.5)) ** 1.5
        angles |= _one(
            side, hip=(18 + 46 * swing * effort, 2), knee=(bend,),
            ankle=(-18 * np.cos(at),),
            shoulder=(-6 - 46 * swing * effort, 12, 16), elbow=(92 - 18 * swing,),
        )  # fmt: skip
    return Pose("run", angles, root=(rng.uniform(4, 16), 0), lift=0.02)


def sit(rng: np.random.Generator) -> Pose:
    knee = rng.uniform(60, 105)
    legs = _both(hip=(rng.uniform(80, 98), rng.uniform(4, 22)), knee=(knee,))
    if rng.random() < 0.2:
        side, _ = _sides(rng)
        legs |= _one(side, hip=(104, -14, 10), knee=(82,))
    arms = _arms(rng, "lap", "lap", "lap", "phone", "carry", "drink", "wave", "fold")
    trunk = {"spine": (rng.uniform(0, 28),), "neck": (10, 0, rng.uniform(-30, 30))}
    return Pose("sit", legs | arms | trunk, root=(-6, 0), seat=True)


def sit_on_floor(rng: np.random.Generator) -> Pose:
    if rng.random() < 0.5:
        legs = _both(hip=(88, 46, -42), knee=(118,), ankle=(-20,))
    else:
        knee = rng.uniform(5, 105)
        legs = _both(hip=(70 + 0.45 * knee, 8), knee=(knee,), ankle=(-10,))
    arms = _arms(rng, "lap", "lap", "behind", "carry", "phone", "drink")
    return Pose("sit on the floor", legs | arms | {"spine": (22,)}, root=(-12, 0))


def bend(rng: np.random.Generator) -> Pose:
    lean = rng.uniform(40, 85)
    knee = rng.uniform(5, 50)
    angles = _both(hip=(lean * 0.95 + knee * 0.5, 8), knee=(knee,), ankle=(knee * 0.4,))
    angles |= _both(shoulder=(rng.uniform(35, 95), 6), elbow=(rng.uniform(5, 50),))
    angles |= {"spine": (28,), "chest": (8,), "neck": (rng.uniform(-25, 5),)}
    return Pose("bend", angles, root=(lean, 0))


def crouch(rng: np.random.Generator) -> Pose:
    hip = rng.uniform(95, 120)
    angles = _both(hip=(hip, rng.uniform(6, 28), -8), knee=(hip + 15,), ankle=(22,))
    angles |= _both(shoulder=(rng.uniform(35, 75), 12), elbow=(rng.uniform(20, 80),))
    return Pose("crouch", angles | {"spine": (25,), "neck": (-10,)}, root=(22, 0))


def kneel(rng: np.random.Generator) -> Pose:
    side, other = _sides(rng)
    if rng.random() < 0.6:
        legs = _one(side, hip=(88, 8), knee=(88,))
        legs |= _one(other, hip=(-4, 4), knee=(92,), ankle=(-10,))
    else:
        legs = _both(hip=(5, 8), knee=(96,), ankle=(-40,))
    arms = _arms(rng, "hang", "carry", "lap", "point", "up", "hip", "drink")
    return Pose("kneel", legs | arms | {"spine": (rng.uniform(0, 20),)})


def lie(rng: np.random.Generator) -> Pose:
    knee = rng.uniform(0, 80) * (rng.random() < 0.6)
    side, other = _sides(rng)
    legs = _one(side, hip=(knee * 0.6, 8), knee=(knee,), ankle=(-20,))
    legs |= _one(other, hip=(rng.uniform(0, 12), 8), knee=(8,), ankle=(-20,))
    if rng.random() < 0.6:
        arms = _arms(rng, "hang", "aside", "up", "head", "lap", "carry")
        return Pose("lie on the back", legs | arms, root=(-90, 0))
    if rng.random() < 0.5:
        arms = _arms(rng, "hang", "carry", "up", "fold")
        return Pose("lie on the side", legs | arms, root=(0, rng.choice([-88, 88])))
    arms = _arms(rng, "hang", "aside", "up")
    return Pose("lie on the front", legs | arms | {"neck": (-25,)}, root=(88, 0))


def kick(rng: np.random.Generator) -> Pose:
    side, other = _sides(rng)
    swing = rng.uniform(-28, 95)
    legs = _one(side, hip=(swing, 8), knee=(max(8.0, 60 - swing),), ankle=(-25,))
    legs |= _one(other, hip=(4, 4), knee=(14,), ankle=(8,))
    arms = _one(side, shoulder=(-25, 45), elbow=(25,))
    arms |= _one(other, shoulder=(35, 60), elbow=(25,))
    return Pose("kick", legs | arms | {"spine": (8,)}, root=(-0.12 * swing, 0))


def throw(rng: np.random.Generator) -> Pose:
    side, other = _sides(rng)
    sign = 1 if side == "left" else -1
    arms = _one(side, shoulder=(30, rng.uniform(80, 125), -70), elbow=(80,))
    arms |= _one(other, shoulder=(rng.uniform(50, 110), 25), elbow=(20,))
    legs = _one(other, hip=(rng.uniform(15, 55), 6), knee=(25,), ankle=(5,))
    legs |= _one(side, hip=(-18, 8, -20), knee=(18,), ankle=(12,))
    trunk = {"spine": (-10, 0, 15 * sign), "chest": (-6, 0, 16 * sign)}
    return Pose("throw", arms | legs | trunk)


def jump(rng: np.random.Generator) -> Pose:
    if rng.random() < 0.5:
        legs = _both(hip=(5, rng.uniform(15, 40)), knee=(15,), ankle=(-30,))
    else:
        hip = rng.uniform(20, 85)
        legs = _both(hip=(hip, 8), knee=(hip + 25,), ankle=(-30,))
    arms = _arms(rng, "up", "aside", "wave", "point")
    return Pose("jump", legs | arms, lift=rng.uniform(0.05, 0.3))


def lunge(rng: np.random.Generator) -> Pose:
    side, other = _sides(rng)
    depth = rng.uniform(40, 90)
    legs = _one(side, hip=(depth, 10), knee=(depth * 0.95,), ankle=(5,))
    legs |= _one(other, hip=(-20, 10, -15), knee=(rng.uniform(5, 40),), ankle=(20,))
    arms = _arms(rng, "up", "aside", "point", "hip", "hang", "carry")
    return Pose("lunge", legs | arms | {"spine": (5,)}, root=(rng.uniform(0, 15), 0))


def surf(rng: np.random.Generator) -> Pose:
    """Feet apart and knees bent, arms out: skating, surfing, skiing, playing tennis."""
    hip = rng.uniform(25, 75)
    legs = _both(hip=(hip, rng.uniform(18, 35), -20), knee=(hip * 1.15,), ankle=(15,))
    arms = _arms(rng, "aside", "point", "carry", "wave", "behind")
    trunk = {"spine": (20, 0, rng.uniform(-18, 18)), "neck": (-10, 0, 0)}
    return Pose("surf", legs | arms | trunk, root=(hip * 0.3, 0))


def dance(rng: np.random.Generator) -> Pose:
    """One leg raised anyhow, arms anywhere they reach."""
    side, other = _sides(rng)
    legs = _one(side, hip=(rng.uniform(-20, 90), rng.uniform(0, 45)))
    legs |= _one(side, knee=(rng.uniform(0, 110),), ankle=(-20,))
    legs |= _one(other, hip=(3, 4), knee=(10,), ankle=(6,))
    arms: Angles = {}
    for name in (side, other):
        reach = (rng.uniform(-40, 165), rng.uniform(0, 130), rng.uniform(-50, 50))
        arms |= _one(name, shoulder=reach, elbow=(rng.uniform(0, 120),))
    trunk = {"spine": (rng.uniform(-15, 25), rng.uniform(-15, 15))}
    return Pose("dance", legs | arms | trunk)


POSES: dict[Callable[[np.random.Generator], Pose], float] = {
    stand: 0.40, walk: 0.20, run: 0.08, sit: 0.10, sit_on_floor: 0.02, bend: 0.03,
    crouch: 0.02, kneel: 0.02, lie: 0.03, kick: 0.02, throw: 0.02, jump: 0.02,
    lunge: 0.01, surf: 0.02, dance: 0.01,
}  # fmt: skip
"""How often each is drawn."""
