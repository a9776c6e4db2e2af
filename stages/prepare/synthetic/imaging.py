"""From a scene to pixels: shading, shadows, antialiasing, noise.

Keypoints and pixels share one convention: pixel centres at integers (camera.py).
"""

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from .backdrop import CANVAS, Backdrop
from .camera import Camera, look_at
from .casting import cast
from .scene import Light, Scene
from .surfaces import BOX, NOTHING, Surfaces
from .wardrobe import TILE

SAMPLES = 2
"""Samples along each side of a pixel."""
OTHERS = [(y, x) for y in range(SAMPLES) for x in range(SAMPLES)][1:]
"""Rows and columns, in a pixel, of all samples but the first."""
SHADOW_SIDE = 160
"""Texels along each side of the shadow map."""
SHADOW_SPAN = 4.5
"""Metres that the shadow map spans."""
FLOOR_SIDE = 112
"""Points along each side of the grid on which the floor's shadows are found."""
UP = (0.0, 1.0, 0.0)
GRAIN = np.random.Generator(np.random.Philox(0)).standard_normal(1 << 20, np.float32)
"""Normal noise of which every image takes a stretch: drawing it anew is slow."""
BOX_AXES = np.array([[2, 0, 0], [1, 2, 1]])
"""Local axes that run around and along each face of a box."""


@dataclass(frozen=True)
class View:
    """A scene's first surfaces, ``SAMPLES`` x ``SAMPLES`` samples per pixel.

    Attributes:
        camera: of the samples.
        depth: (h, w) metres, inf where there is only backdrop.
        index: (h, w) of the shape seen, or ``NOTHING``.
        owner: (h, w) of the person seen, or ``NOTHING``.
    """

    camera: Camera
    depth: np.ndarray
    index: np.ndarray
    owner: np.ndarray


def look(scene: Scene) -> View:
    """Find what every sample of the scene's camera sees."""
    camera = scene.camera.supersampled(SAMPLES)
    depth, index = cast(scene.surfaces, camera)
    owners = np.append(scene.surfaces.owner, NOTHING).astype(np.int16)
    return View(camera, depth, index, owners[index])


def paint(scene: Scene, view: View) -> np.ndarray:
    """Linear RGB (h, w, 3) float32 of the scene's image, before the camera's faults.

    A pixel whose samples all see one shape is shaded once, others once per sample.
    """
    shadows = ShadowMap.of(scene)
    image = _paint_backdrop(scene, shadows)
    covered = view.index != NOTHING
    rows, columns = (np.flatnonzero(covered.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return image
    top, bottom = rows[0] // SAMPLES, rows[-1] // SAMPLES + 1
    left, right = columns[0] // SAMPLES, columns[-1] // SAMPLES + 1
    window = np.s_[top * SAMPLES : bottom * SAMPLES, left * SAMPLES : right * SAMPLES]
    index, wanted = view.index[window], covered[window]
    inner = np.ones((bottom - top, right - left), dtype=bool)
    for y, x in OTHERS:
        inner &= index[y::SAMPLES, x::SAMPLES] == index[::SAMPLES, ::SAMPLES]
    for y, x in OTHERS:
        wanted[y::SAMPLES, x::SAMPLES] &= ~inner
    shaded = np.zeros((*index.shape, 4), dtype=np.float32)
    shaded[wanted] = _shade(scene, view, np.flatnonzero(covered), shadows)
    size = (right - left, bottom - top)
    mean = cv2.resize(shaded, size, interpolation=cv2.INTER_AREA)
    mean[inner] = shaded[::SAMPLES, ::SAMPLES][inner]
    image[top:bottom, left:right] *= cv2.merge([1 - mean[..., 3]] * 3)
    image[top:bottom, left:right] += mean[..., :3]
    return image


@dataclass(frozen=True)
class ShadowMap:
    """Depths of a scene seen from its sun."""

    camera: Camera
    depth: np.ndarray

    @staticmethod
    def of(scene: Scene) -> "ShadowMap":
        """Cast the scene's surfaces from far away, around the first person."""
        middle = scene.people[0].keypoints.mean(axis=0)
        position = middle + 60 * scene.light.toward
        side = (SHADOW_SIDE, SHADOW_SIDE)
        centre = ((SHADOW_SIDE - 1) / 2,) * 2
        focal = SHADOW_SIDE * 60 / SHADOW_SPAN
        camera = Camera(look_at(position, middle), position, focal, centre, side)
        depth, _ = cast(scene.surfaces, camera)
        return ShadowMap(camera, np.pad(depth, 2, constant_values=np.inf))

    def lit(self, points: np.ndarray) -> np.ndarray:
        """Share (n,) of the sun that reaches world points (3, n), softened."""
        camera = self.camera
        turn = camera.rotation.astype(np.float32)
        across, down, depth = turn @ (points - _column(camera.position))
        scale, middle = np.float32(camera.focal) / depth, camera.centre[0] + 2
        column = np.clip(across * scale + middle, 0, SHADOW_SIDE + 2).astype(np.int32)
        row = np.clip(down * scale + middle, 0, SHADOW_SIDE + 2).astype(np.int32)
        wide = self.depth.shape[1]
        flat = row * wide + column
        before = depth - np.float32(0.03)
        total = np.zeros(len(flat), dtype=np.float32)
        for step in (0, 1, wide, wide + 1):
            total += self.depth.ravel()[flat + step] > before
        return total / 4


def _column(vector: np.ndarray) -> np.ndarray:
    return np.asarray(vector, dtype=np.float32)[:, None]


def _shade(scene: Scene, view: View, samples, shadows: ShadowMap) -> np.ndarray:
    """Linear RGB and 1 (n, 4) of samples (flat indices): Lambert under sun and sky."""
    camera, index = view.camera, view.index.ravel()[samples]
    depth = view.depth.ravel()[samples]
    points = np.stack([ray.ravel()[samples] * depth for ray in camera.rays()])
    points += _column(camera.position)
    normals, place = _attributes(scene.surfaces, index, points)
    light = _light(scene.light, normals, shadows.lit(points))
    shaded = np.ones((len(index), 4), dtype=np.float32)
    np.multiply(_albedo(scene, index, place), light, out=shaded[:, :3])
    return shaded


def _light(light: Light, normals: np.ndarray, lit: np.ndarray | float) -> np.ndarray:
    """Linear RGB (n, 3) that falls on surfaces with these unit normals (3, n)."""
    weights = np.empty((normals.shape[1], 3), dtype=np.float32)
    weights[:, 0] = np.maximum(light.toward.astype(np.float32) @ normals, 0) * lit
    weights[:, 1] = 0.5 + 0.5 * normals[1]
    weights[:, 2] = 1 - weights[:, 1]
    return weights @ np.stack([light.sun, light.sky, light.ground]).astype(np.float32)


def _attributes(
    surfaces: Surfaces, index: np.ndarray, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """World normals (3, n) and surface coordinates (2, n) in metres, around and along.

    Args:
        surfaces: the shapes.
        index: (n,) shape that each point is on.
        points: (3, n) in the world.
    """
    order = np.argsort(index, kind="stable")
    ends = np.flatnonzero(np.diff(index[order])) + 1
    points = points[:, order]
    normals, place = np.empty_like(points), np.empty_like(points[:2])
    for start, end in pairwise([0, *ends.tolist(), len(order)]):
        n, part = index[order[start]], np.s_[:, start:end]
        axes = surfaces.to_local[n].astype(np.float32)
        local = axes @ (points[part] - _column(surfaces.origin[n]))
        if surfaces.length[n] == BOX:
            normal, place[part] = _on_box(local, surfaces.scale[n])
        else:
            normal, place[part] = _on_cone(
                local, surfaces.length[n], surfaces.radii[n], surfaces.scale[n]
            )
        normals[part] = axes.T @ normal
    normals /= np.sqrt(np.einsum("in,in->n", normals, normals))
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return normals[:, back], place[:, back]


def _on_cone(local, length, radii, scale) -> tuple[np.ndarray, np.ndarray]:
    """Normals (3, n) and coordinates (2, n) of points (3, n), all in local axes."""
    slope = radii[0] - radii[1]
    normal = local.copy()
    if length > 0:
        # As in surfaces: the sphere that touches the surface here lies at this share.
        share = local[1] * np.float32(length) - np.float32(radii[0] * slope)
        share /= np.float32(length * length - slope * slope)
        normal[1] -= np.clip(share, 0, 1) * np.float32(length)
    around = np.arctan2(local[0], local[2]) * np.float32(radii.mean() * scale[0])
    return normal, np.stack([around, local[1] * np.float32(scale[1])])


def _on_box(local, scale) -> tuple[np.ndarray, np.ndarray]:
    """The same for a box: the face is the axis on which a point lies farthest out."""
    face, samples = np.abs(local).argmax(axis=0), np.arange(local.shape[1])
    normal = np.zeros_like(local)
    normal[face, samples] = np.sign(local[face, samples])
    metres = local * _column(scale)
    return normal, np.take_along_axis(metres, BOX_AXES[:, face], axis=0)


def _albedo(scene: Scene, index: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Linear RGB (n, 3) of the tiles at surface coordinates (2, n)."""
    tiles = np.square(np.stack(scene.materials.tiles)).reshape(-1, 3)
    material = scene.surfaces.material[index].astype(np.int32)
    texels = (TILE / np.array(scene.materials.spans, dtype=np.float32))[material]
    column, row = (np.floor(v * texels).astype(np.int32) % TILE for v in place)
    return tiles[(material * TILE + row) * TILE + column]


def _paint_backdrop(scene: Scene, shadows: ShadowMap) -> np.ndarray:
    """Linear RGB (h, w, 3) of floor, wall and sky where the rays first meet them."""
    backdrop, camera = scene.backdrop, scene.camera
    x, y, z = camera.rays()
    start = camera.position.astype(np.float32)
    normal = backdrop.normal.astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        to_floor = np.where(y < 0, -start[1] / y, np.float32(np.inf))
        toward = x * normal[0] + z * normal[1]
        before = np.float32(backdrop.distance(camera.position))
        to_wall = np.where(toward < 0, -before / toward, np.float32(np.inf))
    far = np.where(toward < 0, to_wall, 1)
    along = (start[0] + x * far) * normal[1] - (start[2] + z * far) * normal[0]
    up = np.where(toward < 0, start[1] + y * far, np.float32(np.inf))
    image = _paint_wall(backdrop, scene.light, along, up)
    if backdrop.blur > 0.3:
        image = cv2.GaussianBlur(image, (0, 0), backdrop.blur)
    ground = to_floor < to_wall
    reach = np.where(ground, to_floor, 0)
    across, ahead = start[0] + x * reach, start[2] + z * reach
    floor = _paint_floor(scene, across, ahead, shadows)
    return cv2.copyTo(floor, ground.astype(np.uint8), image)


def _paint_wall(backdrop: Backdrop, light: Light, along, up) -> np.ndarray:
    """Linear RGB (h, w, 3) of the wall at places in metres, or of the sky above it."""
    texels = np.float32(len(backdrop.wall) / backdrop.wall_span)
    lit = _light(light, _column(np.insert(backdrop.normal, 1, 0)), 0.6)
    above = up > backdrop.wall_span
    image = cv2.remap(
        backdrop.wall * lit, along * texels, np.where(above, 0, up) * texels,
        cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101,
    )  # fmt: skip
    image[above] = backdrop.sky * lit[0]
    return image


def _paint_floor(scene: Scene, across, ahead, shadows: ShadowMap) -> np.ndarray:
    """Linear RGB (h, w, 3) of the floor at places x and z (h, w), metres."""
    floor, texels = scene.backdrop.floor, CANVAS / scene.backdrop.floor_span
    shade, full = (_light(scene.light, _column(UP), share) for share in (0.0, 1.0))
    side = np.linspace(-SHADOW_SPAN, SHADOW_SPAN, FLOOR_SIDE, dtype=np.float32) / 2
    points = np.stack([v.ravel() for v in np.broadcast_arrays(side, 0, side[:, None])])
    light = shade + shadows.lit(points)[:, None] * (full - shade)
    light = light.reshape(FLOOR_SIDE, FLOOR_SIDE, 3)
    place = [(v / SHADOW_SPAN + 0.5) * (FLOOR_SIDE - 1) for v in (across, ahead)]
    light = cv2.remap(light, *place, cv2.INTER_LINEAR, borderValue=full[0].tolist())
    colour = cv2.remap(
        floor, across * texels, ahead * texels, cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )  # fmt: skip
    return colour * light


def develop(image: np.ndarray, rng: np.random.Generator, noise: float) -> np.ndarray:
    """Linear RGB (h, w, 3) to uint8 sRGB, with blur, exposure and sensor noise.

    Args:
        image: what ``paint`` gives.
        rng: draws exposure, blur and noise.
        noise: largest standard deviation of the noise, grey levels.
    """
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 0.8))
    image = np.sqrt(np.clip(image * rng.uniform(0.85, 1.6), 0, 1)) * 255
    start = rng.integers(len(GRAIN) - image.size)
    grain = GRAIN[start : start + image.size].reshape(image.shape)
    image += grain * np.float32(rng.uniform(0.15, 1.0) * noise)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
