"""Perspective camera. Image coordinates are pixels with pixel centres at integers:
pixel (0, 0) covers [-0.5, 0.5] x [-0.5, 0.5]."""

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: x right, y down, z along the view.

    Attributes:
        rotation: (3, 3), world to camera.
        position: (3,) in the world, metres.
        focal: focal length in pixels.
        centre: principal point (x, y) in pixels; may lie anywhere, as in a photo
            that was cropped.
        size: image (w, h) in pixels.
    """

    rotation: np.ndarray
    position: np.ndarray
    focal: float
    centre: tuple[float, float]
    size: tuple[int, int]

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """World points (..., 3) in camera axes, metres."""
        return (points - self.position) @ self.rotation.T

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """World points (..., 3) as image points (..., 2), px, and depths (...), m."""
        seen = self.to_camera(np.asarray(points, dtype=float))
        depth = seen[..., 2]
        return seen[..., :2] / depth[..., None] * self.focal + self.centre, depth

    def rays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """World directions through pixel centres, 1 m of depth long.

        Returns:
            x, y and z, (h, w) float32 each.
        """
        width, height = self.size
        x = ((np.arange(width) - self.centre[0]) / self.focal).astype(np.float32)
        y = ((np.arange(height) - self.centre[1]) / self.focal).astype(np.float32)
        return tuple(
            across * x + (down * y + ahead)[:, None]
            for across, down, ahead in self.rotation.T.astype(np.float32)
        )

    def supersampled(self, factor: int) -> "Camera":
        """The same view with factor x factor samples in every pixel.

        Sample j of an axis lies at (j + 0.5) / factor - 0.5 px, so that the mean of a
        block of samples is the pixel and no keypoint moves.
        """
        x, y = self.centre
        return replace(
            self,
            focal=self.focal * factor,
            centre=((x + 0.5) * factor - 0.5, (y + 0.5) * factor - 0.5),
            size=(self.size[0] * factor, self.size[1] * factor),
        )


def heading(angle: float) -> np.ndarray:
    """Rotation (3, 3) about the vertical, ``angle`` in radians; z turns towards x."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])


def look_at(position: np.ndarray, target: np.ndarray, roll: float = 0.0) -> np.ndarray:
    """World-to-camera rotation (3, 3) of a camera that looks at a target.

    Args:
        position: of the camera (3,), metres; not straight above or below the target.
        target: what appears at the principal point (3,), metres.
        roll: turn about the view axis, radians.
    """
    ahead = np.subtract(target, position)
    ahead = ahead / np.linalg.norm(ahead)
    across = np.cross(ahead, [0.0, 1.0, 0.0])
    across = across / np.linalg.norm(across)
    down = np.cross(ahead, across)
    cos, sin = np.cos(roll), np.sin(roll)
    return np.stack([cos * across + sin * down, cos * down - sin * across, ahead])
