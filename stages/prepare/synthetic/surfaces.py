"""Surfaces of a scene: round cones and boxes.

Two shapes are enough: the round cone (the hull of two spheres; a limb, a head) and
the box (furniture), each stretched along its own axes.
"""

from dataclasses import dataclass, field, fields

import numpy as np

BOX = -1.0
CONE = -2.0
NOTHING = -1


@dataclass
class Surfaces:
    """N shapes as arrays. A world point p lies at ``to_local @ (p - origin)``.

    Attributes:
        to_local: (N, 3, 3), turns into the shape's axes and divides by ``scale``.
        origin: (N, 3) metres; the first sphere's centre, or the box's.
        scale: (N, 3) metres per local unit.
        length: (N,) local distance between the spheres, along y; ``BOX`` for a box,
            which spans [-1, 1] along each local axis.
        radii: (N, 2) local radii of the two spheres.
        material: (N,) index of what it is made of.
        owner: (N,) index of the person it belongs to, or ``NOTHING``.
    """

    to_local: np.ndarray
    origin: np.ndarray
    scale: np.ndarray
    length: np.ndarray
    radii: np.ndarray
    material: np.ndarray
    owner: np.ndarray

    def __len__(self) -> int:
        return len(self.length)

    def moved(self, rotation: np.ndarray, shift: np.ndarray) -> "Surfaces":
        """The same shapes after ``p -> rotation @ p + shift``."""
        return Surfaces(
            self.to_local @ rotation.T,
            self.origin @ rotation.T + shift,
            *(getattr(self, f.name) for f in fields(self)[2:]),
        )

    def lowest(self) -> np.ndarray:
        """Lowest world y (N,) of every shape, metres."""
        axes = np.linalg.inv(self.to_local)
        reach = np.linalg.norm(axes[:, 1], axis=1)
        tip = self.origin[:, 1] + axes[:, 1, 1] * self.length
        cone = np.minimum(
            self.origin[:, 1] - reach * self.radii[:, 0], tip - reach * self.radii[:, 1]
        )
        box = self.origin[:, 1] - np.abs(axes[:, 1]).sum(axis=1)
        return np.where(self.length == BOX, box, cone)


def join(groups: list[Surfaces]) -> Surfaces:
    """All shapes of several groups, in order."""
    return Surfaces(
        *(
            np.concatenate([getattr(g, f.name) for g in groups])
            for f in fields(Surfaces)
        )
    )


@dataclass
class Builder:
    """Collects shapes one by one; ``done`` stacks them."""

    owner: int = NOTHING
    rows: list[tuple] = field(default_factory=list)

    def cone(
        self,
        start: np.ndarray,
        end: np.ndarray,
        radii: tuple[float, float],
        front: np.ndarray,
        material: int,
        flat: tuple[float, float, float] = (1.0, 1.0, 1.0),
    ) -> None:
        """A round cone between two world points.

        Args:
            start, end: centres of its spheres (3,), metres.
            radii: of the two spheres, metres; neither sphere may hold the other.
            front: direction (3,) of its local z.
            material: what it is made of.
            flat: stretch across, along and to the front.
        """
        frame = np.stack([front, np.subtract(end, start), front])
        self._add(frame, start, flat, CONE, radii, material)

    def ellipsoid(
        self, centre: np.ndarray, axes: np.ndarray, radii: tuple, material: int
    ) -> None:
        """An ellipsoid; ``axes`` (3, 3) holds its axes as columns, radii in metres."""
        self._add(axes.T, centre, radii, 0.0, (1.0, 1.0), material)

    def box(
        self, centre: np.ndarray, axes: np.ndarray, halves: tuple, material: int
    ) -> None:
        """A box; ``axes`` (3, 3) holds its axes as columns, half sides in metres."""
        self._add(axes.T, centre, halves, BOX, (1.0, 1.0), material)

    def _add(self, axes, origin, scale, length, radii, material) -> None:
        row = (axes, origin, scale, length, radii, material, self.owner)
        self.rows.append(row)

    def done(self) -> Surfaces:
        """All shapes collected, as arrays."""
        columns = (np.array(column) for column in zip(*self.rows, strict=True))
        axes, origin, scale, length, *rest = columns
        cone = length == CONE
        front, along = axes[cone, 0], axes[cone, 1]
        reach = np.linalg.norm(along, axis=1)
        length[cone] = reach / scale[cone, 1]
        axes[cone] = _upright(along / reach[:, None], front)
        return Surfaces(axes / scale[:, :, None], origin, scale, length, *rest)


def _upright(along: np.ndarray, front: np.ndarray) -> np.ndarray:
    """Rows x, y, z (n, 3, 3) of orthonormal frames with y along and z near front."""
    lean = np.einsum("ni,ni->n", along, front)[:, None]
    # A limb that points to its own front takes another direction for it.
    other = np.roll(front, 1, axis=1)
    front = np.where(np.abs(lean) > 0.95, other, front)
    depth = front - np.einsum("ni,ni->n", along, front)[:, None] * along
    depth /= np.linalg.norm(depth, axis=1)[:, None]
    return np.stack([np.cross(along, depth), along, depth], axis=1)
