"""Materials: small colour tiles for skin, hair, faces, cloth, wood and walls.

A tile is (TILE, TILE, 3) float32, sRGB in 0..1, wrapped around a surface by its
coordinates in metres: row along the shape, column around it, 0 at its front.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

TILE = 64
CLOTH = 0.9
"""Metres that one tile of cloth spans."""

SKIN = np.array(
    [(250, 214, 190), (233, 186, 150), (206, 152, 112), (160, 106, 72), (106, 68, 46),
     (70, 46, 36)]
) / 255.0  # fmt: skip
HAIR = np.array(
    [(28, 22, 20), (58, 38, 26), (104, 70, 42), (176, 136, 82), (150, 66, 32),
     (168, 164, 160)]
) / 255.0  # fmt: skip


@dataclass
class Materials:
    """Tiles collected for a scene, with the metres each of them spans."""

    tiles: list[np.ndarray] = field(default_factory=list)
    spans: list[float] = field(default_factory=list)

    def add(self, tile: np.ndarray, span: float = CLOTH) -> int:
        """Take a tile in and give the index that surfaces refer to."""
        self.tiles.append(np.clip(tile, 0, 1).astype(np.float32))
        self.spans.append(span)
        return len(self.tiles) - 1


def _grain() -> np.ndarray:
    """Fine and coarse noise (TILE, TILE, 1) of unit deviation each, added up."""
    rng = np.random.Generator(np.random.Philox(0))
    fine = rng.standard_normal((TILE, TILE), dtype=np.float32)
    coarse = rng.standard_normal((6, 6), dtype=np.float32)
    size = (TILE, TILE)
    return (fine + cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC))[..., None]


GRAIN = _grain()


def plain(rng: np.random.Generator, colour: np.ndarray, grain: float) -> np.ndarray:
    """One colour with grain and soft stains of standard deviation ``grain``."""
    shifted = np.roll(GRAIN, rng.integers(TILE, size=2), axis=(0, 1))
    return np.asarray(colour, np.float32) + shifted * np.float32(grain)


def draw_colour(rng: np.random.Generator) -> np.ndarray:
    """A cloth colour, sRGB (3,): any hue, often grey, dark or pale as clothes are."""
    saturation = rng.beta(1.2, 1.8)
    value = rng.uniform(0.12, 0.98)
    hsv = np.array([[[rng.uniform(0, 360), saturation, value]]], dtype=np.float32)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0]


def draw_cloth(rng: np.random.Generator, patterned: float = 0.5) -> np.ndarray:
    """A cloth tile: plain, or with stripes, checks, dots or blotches."""
    colour, other = draw_colour(rng), draw_colour(rng)
    tile = plain(rng, colour, rng.uniform(0.005, 0.03))
    if rng.random() > patterned:
        return tile
    row, column = np.ogrid[:TILE, :TILE]
    row, column = row / TILE + 0 * column, column / TILE + 0 * row
    count = rng.integers(5, 16)
    width = rng.uniform(0.2, 0.6)
    kind = rng.integers(6)
    if kind == 0:
        ink = (row * count) % 1 < width
    elif kind == 1:
        ink = (column * count) % 1 < width
    elif kind == 2:
        ink = ((row * count) % 1 < width) * 0.5 + ((column * count) % 1 < width) * 0.5
    elif kind == 3:
        ink = np.hypot((row * count) % 1 - 0.5, (column * count) % 1 - 0.5) < width / 2
    else:
        spots = rng.standard_normal((count, count), dtype=np.float32)
        ink = cv2.resize(spots, (TILE, TILE), interpolation=cv2.INTER_CUBIC) > 0.3
    ink = np.asarray(ink, dtype=np.float32)[..., None]
    return tile + ink * (other - colour).astype(np.float32)


def with_print(rng: np.random.Generator, tile: np.ndarray) -> np.ndarray:
    """A shirt's tile with a print on the chest."""
    tile = tile.astype(np.float32).copy()
    top, half = int(rng.integers(5, 10)), int(rng.integers(3, 8))
    height = int(rng.integers(4, 10))
    colour = draw_colour(rng)
    # The front is column 0: the print straddles the tile's border.
    rolled = np.roll(tile, TILE // 2, axis=1)
    left, right = TILE // 2 - half, TILE // 2 + half
    if rng.random() < 0.5:
        rolled[top : top + height, left:right] = colour
    else:
        centre = (TILE // 2, top + height // 2)
        cv2.ellipse(rolled, centre, (half, height // 2), 0, 0, 360, colour.tolist(), -1)
    return np.roll(rolled, -TILE // 2, axis=1)


def face(
    rng: np.random.Generator,
    skin: np.ndarray,
    hair: np.ndarray,
    span: float,
    eyes: tuple[float, float],
    mouth: float,
) -> np.ndarray:
    """Skin with eyes, brows and a mouth.

    Args:
        rng: draws beard, lips and the colour of the eyes.
        skin, hair: sRGB (3,).
        span: metres that the tile spans.
        eyes: (around, up) of an eye from the middle of the face, metres.
        mouth: height of the mouth, metres; up is positive.
    """
    tile = plain(rng, skin, 0.012).astype(np.float32)
    tile = np.roll(tile, TILE // 2, axis=(0, 1))
    scale = TILE / span
    shift = 5  # cv2 takes fixed-point coordinates with this many fractional bits

    def spot(x, y, half_x, half_y, colour):
        # Row grows with height, as the coordinate along the shape does.
        at = (TILE / 2 + x * scale, TILE / 2 + y * scale)
        cv2.ellipse(
            tile, tuple(int(v * 2**shift) for v in at),
            tuple(int(v * scale * 2**shift) for v in (half_x, half_y)),
            0, 0, 360, np.asarray(colour, dtype=float).tolist(), -1, cv2.LINE_AA, shift,
        )  # fmt: skip

    iris = rng.choice([(0.08, 0.05, 0.04), (0.12, 0.16, 0.22), (0.2, 0.12, 0.06)])
    blush = np.clip(skin * (0.86, 0.72, 0.72), 0, 1)
    if rng.random() < 0.2:
        spot(0, mouth - 0.015, 0.062, 0.034, 0.4 * skin + 0.6 * hair)
    for side in (-1, 1):
        x, y = side * eyes[0], eyes[1]
        spot(x, y, 0.016, 0.009, (0.88, 0.86, 0.84))
        spot(x, y, 0.008, 0.009, iris)
        spot(x, y + 0.023, 0.019, 0.004, 0.35 * skin + 0.65 * hair)
    spot(0, mouth, 0.026, 0.008, blush * rng.uniform(0.65, 0.95))
    return np.roll(tile, TILE // 2, axis=(0, 1))


def skin_and_hair(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Skin and hair colour, sRGB (3,) each."""
    place = rng.uniform(0, len(SKIN) - 1)
    low = int(place)
    skin = SKIN[low] + (place - low) * (SKIN[low + 1] - SKIN[low])
    light = rng.random() < 0.6 and place < 2.5
    hair = HAIR[rng.integers(len(HAIR))] if light else HAIR[rng.integers(2)]
    return skin, np.clip(hair * rng.uniform(0.8, 1.2), 0, 1)
