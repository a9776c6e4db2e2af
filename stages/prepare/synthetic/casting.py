"""Exact ray casting of surfaces into a depth buffer.

In a shape's own axes a ray meets it in closed form, so depths are exact and no mesh is
needed. Round cone: I. Quilez, "Ray-surface intersectors",
iquilezles.org/articles/intersectors.
"""

import numpy as np

from .camera import Camera
from .surfaces import BOX, NOTHING, Surfaces


def cast(surfaces: Surfaces, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """First surface met by the ray through every pixel centre.

    Returns:
        depth (h, w) float32 in metres along the view, inf where nothing is met, and
        the shape's index (h, w) int16, ``NOTHING`` there.
    """
    width, height = camera.size
    depth = np.full((height, width), np.inf, dtype=np.float32)
    index = np.full((height, width), NOTHING, dtype=np.int16)
    local = surfaces.moved(camera.rotation, -camera.rotation @ camera.position)
    bounds = image_bounds(local, camera)
    seen = np.flatnonzero((bounds[:, :2] < bounds[:, 2:]).all(axis=1))
    rays, starts = _rays(local, camera, bounds)
    forms = _cone_forms(local, rays, starts)
    with np.errstate(invalid="ignore", divide="ignore"):
        for n in seen:
            x0, y0, x1, y1 = bounds[n]
            x = np.arange(x1 - x0, dtype=np.float32) - np.float32((x1 - x0 - 1) / 2)
            y = np.arange(y1 - y0, dtype=np.float32) - np.float32((y1 - y0 - 1) / 2)
            if local.length[n] == BOX:
                met = _meet_box(rays[n], starts[n], x, y)
            else:
                met = _meet_cone([form[n] for form in forms], x, y)
            window = np.s_[y0:y1, x0:x1]
            closer = met < depth[window]
            np.copyto(depth[window], met, where=closer)
            np.copyto(index[window], np.int16(n), where=closer)
    return depth, index


def image_bounds(local: Surfaces, camera: Camera) -> np.ndarray:
    """Pixel windows (N, 4) as x0, y0, x1, y1 (end excluded) that hold every shape.

    The outline of an ellipsoid with half axes A around c is the conic whose dual is
    c c' - A A' (Hartley and Zisserman, Multiple View Geometry, section 8.3). Shapes
    that reach behind the camera get an empty window.
    """
    axes = np.linalg.inv(local.to_local)
    tip = local.origin + axes[:, :, 1] * local.length[:, None]
    # A sphere through a box's corners holds the box.
    grown = np.where(local.length[:, None] == BOX, np.sqrt(3.0), local.radii)
    tip = np.where(local.length[:, None] == BOX, local.origin, tip)
    low, high, ahead = [], [], np.ones(len(local), dtype=bool)
    for centre, radius in ((local.origin, grown[:, 0]), (tip, grown[:, 1])):
        half = axes * radius[:, None, None]
        dual = centre[:, :, None] * centre[:, None, :] - half @ half.transpose(0, 2, 1)
        last = dual[:, 2, 2]
        ahead &= (last > 0) & (centre[:, 2] > 0)
        last = np.where(last > 0, last, 1.0)
        middle = dual[:, :2, 2]
        square = middle**2 - dual[:, [0, 1], [0, 1]] * last[:, None]
        spread = np.sqrt(np.maximum(square, 0))
        low.append((middle - spread) / last[:, None])
        high.append((middle + spread) / last[:, None])
    lower = np.ceil(np.minimum(*low) * camera.focal + camera.centre)
    upper = np.floor(np.maximum(*high) * camera.focal + camera.centre) + 1
    bounds = np.concatenate([np.maximum(lower, 0), np.minimum(upper, camera.size)], 1)
    return np.where(ahead[:, None], bounds, 0).astype(int)


def _rays(local: Surfaces, camera: Camera, bounds: np.ndarray) -> tuple:
    """Rays in every shape's own axes, all from one point.

    Returns:
        rays (N, 3, 3), which take (x, y, 1) to a direction, x and y in pixels from the
        middle of the shape's window (float32 then loses nothing), and the starting
        points (N, 3).
    """
    middle = (bounds[:, :2] + bounds[:, 2:] - 1) / 2
    rays = np.zeros((len(local), 3, 3))
    rays[:, 0, 0] = rays[:, 1, 1] = 1 / camera.focal
    rays[:, :2, 2] = (middle - camera.centre) / camera.focal
    rays[:, 2, 2] = 1
    return local.to_local @ rays, -np.einsum("nij,nj->ni", local.to_local, local.origin)


def _cone_forms(local: Surfaces, rays: np.ndarray, starts: np.ndarray) -> list:
    """All that the rays' meeting with round cones needs, as forms in (x, y, 1).

    Names k0, k1, h, d2, m1, m2 as in Quilez. A root of k2 t^2 + 2 k1 t + k0 is
    k0 / (sqrt(h) - k1), h = k1^2 - k0 k2: no difference of large numbers.

    Returns:
        Per shape: quadratic forms h (3, 3), linear forms k1 (3,) and numbers k0 of the
        two spheres and the cone between them, then m2 (3,), the offset of the place
        along the axis, and d2, at most 0 for a single sphere.
    """
    length, (ra, rb) = np.maximum(local.length, 0), local.radii.T
    slope = ra - rb
    d2 = length**2 - slope**2
    far = starts - length[:, None] * [0, 1, 0]
    square = rays.transpose(0, 2, 1) @ rays
    forms = []
    for start, radius in ((starts, ra), (far, rb)):
        k0 = (start**2).sum(axis=1) - radius**2
        k1 = np.einsum("nji,nj->ni", rays, start)
        forms += [_discriminant(k0, k1, square), k1, k0]
    m1, m2 = length * starts[:, 1], length[:, None] * rays[:, 1]
    k0 = d2 * (starts**2).sum(axis=1) - m1**2 + 2 * m1 * slope * ra - (length * ra) ** 2
    k1 = d2[:, None] * forms[1] + (slope * ra - m1)[:, None] * m2
    k2 = d2[:, None, None] * square - m2[:, :, None] * m2[:, None]
    forms += [_discriminant(k0, k1, k2), k1, k0, m2, m1 - ra * slope, d2]
    return [form.astype(np.float32) for form in forms]


def _discriminant(k0: np.ndarray, k1: np.ndarray, k2: np.ndarray) -> np.ndarray:
    """Quadratic forms (N, 3, 3) of k1^2 - k0 k2."""
    return k1[:, :, None] * k1[:, None] - k0[:, None, None] * k2


def _meet_cone(forms: list, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Depths (len(y), len(x)) of a round cone; NaN or negative where it is not met."""
    h, k1, k0, m2, offset, d2 = forms[6:]
    near = _root(*forms[:3], x, y)
    if d2 <= 0:
        return near
    caps = np.fmin(near, _root(*forms[3:6], x, y))
    side = _root(h, k1, k0, x, y)
    place = _linear(m2, x, y)
    place *= side
    place += offset
    between = (place > 0) & (place < d2)
    np.copyto(caps, side, where=between)
    return caps


def _root(h, k1, k0, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    value = _quadratic(h, x, y)
    np.sqrt(value, out=value)
    value -= _linear(k1, x, y)
    return np.divide(k0, value, out=value)


def _meet_box(ray, start, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Depths (len(y), len(x)) of a box: the slabs that its ray crosses all at once."""
    near, far = np.float32(0), np.float32(np.inf)
    for axis in range(3):
        inverse = 1 / _linear(ray[axis].astype(np.float32), x, y)
        one = np.float32(-1 - start[axis]) * inverse
        other = np.float32(1 - start[axis]) * inverse
        near = np.maximum(near, np.minimum(one, other))
        far = np.minimum(far, np.maximum(one, other))
    return np.where(near < far, near, np.float32(np.inf))


def _linear(form: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """form . (x, y, 1) on the grid."""
    return (form[1] * y + form[2])[:, None] + form[0] * x


def _quadratic(form: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(x, y, 1) form (x, y, 1)' on the grid."""
    value = (2 * form[0, 1] * y)[:, None] * x
    value += ((form[1, 1] * y + 2 * form[1, 2]) * y + form[2, 2])[:, None]
    value += (form[0, 0] * x + 2 * form[0, 2]) * x
    return value
