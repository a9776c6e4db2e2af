"""What lies behind people: a textured floor, a cluttered wall or view, a sky."""

from dataclasses import dataclass

import cv2
import numpy as np

from .wardrobe import draw_colour

CANVAS = 192
"""Texels along each side of the floor's and the wall's picture."""


@dataclass(frozen=True)
class Backdrop:
    """A floor at y = 0 and an upright wall behind the people.

    Attributes:
        floor, wall: (CANVAS, CANVAS, 3) float32 linear RGB; the floor repeats, the
            wall is mirrored at its sides.
        floor_span, wall_span: metres that each of them spans.
        sky: linear RGB (3,) above the wall.
        normal: (2,) horizontal unit vector (x, z) of the wall, towards the people.
        behind: metres from the origin to the wall.
        blur: standard deviation of the wall's blur, px.
    """

    floor: np.ndarray
    wall: np.ndarray
    floor_span: float
    wall_span: float
    sky: np.ndarray
    normal: np.ndarray
    behind: float
    blur: float

    def distance(self, place: np.ndarray) -> float:
        """Metres (3,) -> how far a place lies before the wall."""
        return float(place[[0, 2]] @ self.normal + self.behind)


def draw_backdrop(rng: np.random.Generator, behind: float) -> Backdrop:
    """A random room, street or meadow, its wall ``behind`` metres behind the origin."""
    outdoors = rng.random() < 0.5
    angle = rng.normal(0, 0.3)
    if outdoors:
        behind *= 3
    wall = _view(rng) if outdoors else _room(rng)
    sky = wall[-1].mean(axis=0)
    return Backdrop(
        floor=_linear(_floor(rng)),
        wall=_linear(wall),
        floor_span=rng.uniform(1.5, 5.0),
        wall_span=rng.uniform(9, 16) if outdoors else rng.uniform(3, 6),
        sky=_linear(sky),
        normal=np.array([np.sin(angle), np.cos(angle)]),
        behind=behind,
        blur=rng.uniform(0.0, 2.5),
    )


def fractal(rng: np.random.Generator, octaves: int, roughness: float) -> np.ndarray:
    """Smooth noise (CANVAS, CANVAS) float32 in about -1..1, finer octave by octave."""
    total = np.zeros((CANVAS, CANVAS), np.float32)
    for octave in range(octaves):
        cells = 4 << octave
        grid = rng.random((cells, cells), dtype=np.float32) * 2 - 1
        grid *= np.float32(roughness**octave)
        total += cv2.resize(grid, (CANVAS, CANVAS), interpolation=cv2.INTER_LINEAR)
    return total


def _linear(colour: np.ndarray) -> np.ndarray:
    """sRGB as linear light; gamma 2 is close enough for a drawn world."""
    return np.square(np.clip(colour, 0, 1)).astype(np.float32)


def _floor(rng: np.random.Generator) -> np.ndarray:
    base = (0.6 * draw_colour(rng) + 0.4 * rng.uniform(0.2, 0.8)).astype(np.float32)
    noise = fractal(rng, 6, rng.uniform(0.5, 0.9)) * np.float32(rng.uniform(0.02, 0.12))
    kind = rng.integers(4)
    row, column = np.ogrid[:CANVAS, :CANVAS]
    cell = CANVAS // int(rng.choice([3, 6, 12]))
    if kind == 0:
        odd = (row // cell + column // cell) % 2
        noise += odd * np.float32(rng.normal(0, 0.12))
    elif kind == 1:
        joints = (row % cell < 2) | (column % cell < 2)
        noise -= np.float32(0.2) * joints
    elif kind == 2:
        noise += rng.normal(0, 0.05, CANVAS // cell).astype(np.float32)[row // cell]
        noise -= np.float32(0.2) * (row % cell < 1)
    return base + noise[..., None]


def _room(rng: np.random.Generator) -> np.ndarray:
    """A wall with pictures, windows, doors and shelves; row 0 is at the floor."""
    base = 0.5 * draw_colour(rng) + 0.5 * rng.uniform(0.4, 0.95)
    noise = fractal(rng, 5, 0.6) * np.float32(rng.uniform(0.01, 0.06))
    picture = base.astype(np.float32) + noise[..., None]
    if rng.random() < 0.35:
        _bricks(rng, picture)
    for _ in range(rng.integers(2, 9)):
        _panel(rng, picture, upright=rng.random() < 0.4)
    picture[:6] *= rng.uniform(0.4, 1.0)
    return picture


def _view(rng: np.random.Generator) -> np.ndarray:
    """Hills, trees and houses under a sky; row 0 is at the ground."""
    sky = (np.array([0.62, 0.76, 0.92]) * rng.uniform(0.8, 1.1)).astype(np.float32)
    haze = np.linspace(0.5, 0, CANVAS, dtype=np.float32)[:, None]
    haze = haze + np.clip(fractal(rng, 4, 0.6), 0, 1) * np.float32(rng.uniform(0, 0.8))
    picture = sky + haze[..., None] * (np.float32(0.95) - sky)
    green = (np.array([0.22, 0.36, 0.14]) * rng.uniform(0.6, 1.7)).astype(np.float32)
    leaves = fractal(rng, 6, 0.85)
    skyline = (0.12 + 0.1 * np.abs(leaves[0])) * CANVAS * rng.uniform(0.5, 2)
    wooded = np.arange(CANVAS)[:, None] < skyline[None]
    picture[wooded] = green + leaves[wooded][:, None] * np.float32(0.12)
    for _ in range(rng.integers(0, 7)):
        _panel(rng, picture, upright=True)
    return picture


def _panel(rng: np.random.Generator, picture: np.ndarray, upright: bool) -> None:
    """Paint a rectangle, with a frame or with rows of windows, or a round thing."""
    wide, tall = rng.integers(8, 55), rng.integers(10, 90)
    left = int(rng.integers(-10, CANVAS - 10))
    low = 0 if upright else int(rng.integers(30, 150))
    corner, other = (left, low), (int(left + wide), int(low + tall))
    colour = draw_colour(rng).tolist()
    if not upright and rng.random() < 0.25:
        cv2.circle(picture, corner, int(wide // 3), colour, -1, cv2.LINE_AA)
        return
    cv2.rectangle(picture, corner, other, colour, -1)
    trim = draw_colour(rng).tolist()
    if rng.random() < 0.5:
        cv2.rectangle(picture, corner, other, trim, int(rng.integers(1, 4)))
    if rng.random() < 0.5:
        step_x, step_y = rng.integers(6, 20, 2)
        for x in range(left + 3, other[0] - 4, int(step_x)):
            for y in range(low + 4, other[1] - 5, int(step_y)):
                end = (x + int(step_x) // 2, y + int(step_y) // 2)
                cv2.rectangle(picture, (x, y), end, trim, -1)


def _bricks(rng: np.random.Generator, picture: np.ndarray) -> None:
    row, column = np.ogrid[:CANVAS, :CANVAS]
    tall, wide = int(rng.integers(5, 12)), int(rng.integers(12, 30))
    shifted = column + (row // tall % 2) * (wide // 2)
    joints = (row % tall == 0) | (shifted % wide == 0)
    picture *= 1 + (0.25 * rng.choice([-1, 1]) * joints[..., None]).astype(np.float32)
