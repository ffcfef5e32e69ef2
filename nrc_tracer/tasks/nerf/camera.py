"""The camera of a photograph: intrinsics, lens distortion and pose, in float64 and plain NumPy."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from nrc_tracer.errors import DataError
from nrc_tracer.tasks.nerf.rotations import turning

LensModel = Literal["pinhole", "opencv", "fisheye"]
MAX_SIDE = 65536
"""Most pixels along a side of an image."""
Distortion = tuple[float, float, float, float, float, float]
"""k1, k2, k3, k4, p1, p2."""
NO_DISTORTION: Distortion = (0.0,) * 6
ITERATIONS = 12
"""Most Newton steps for undoing a distortion."""
SHEAR = 1e-2
"""Largest deviation from perpendicular axes that is accepted in a pose, as a cosine: poses are rounded, or come from an
optimizer."""


@dataclass(frozen=True, eq=False)
class PhotoCamera:
    """A photograph's camera.

    The centre of pixel (column i, row j) is at (i + 0.5, j + 0.5); row 0 is the top. In the camera's own axes x is right, y is
    up, and the camera looks along -z (OpenGL). A point at depth 1 in front of it, at (x, y) = (right, down), appears at:

    * `pinhole`: pixel (fx x + cx, fy y + cy);
    * `opencv`: the same after distorting x and y. With r^2 = x^2 + y^2 they are multiplied by 1 + k1 r^2 + k2 r^4 + k3 r^6 + k4
      r^8, and 2 p1 x y + p2 (r^2 + 2 x^2) and p1 (r^2 + 2 y^2) + 2 p2 x y are added (OpenCV's model up to k3; OpenCV's k4
      differs);
    * `fisheye`: the same after replacing r by t (1 + k1 t^2 + k2 t^4 + k3 t^6 + k4 t^8), where t is the angle from the axis
      (OpenCV's fisheye model).

    Attributes:
        width: Width of the image in pixels.
        height: Height of the image in pixels.
        fx, fy: Focal lengths in pixels.
        cx, cy: Where the optical axis meets the image, in pixels from its left and top edges.
        distortion: k1, k2, k3, k4, p1, p2.
        model: The lens model.
        to_world: Camera-to-world matrix, float64 [3, 4]: a rotation, and a position in the data's units.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: Distortion = NO_DISTORTION
    model: LensModel = "pinhole"
    to_world: np.ndarray = field(default_factory=lambda: np.eye(4)[:3])

    @property
    def position(self) -> np.ndarray:
        """Position, float64 [3], in the data's units."""
        return self.to_world[:, 3]

    @property
    def forward(self) -> np.ndarray:
        """Viewing direction, float64 [3]."""
        return -self.to_world[:, 2]

    def corrected(self, rotation: np.ndarray, shift: np.ndarray) -> PhotoCamera:
        """The camera turned in place by a rotation vector in radians and then shifted, both along the world's axes, [3]."""
        return self.placed(np.column_stack((turning(rotation) @ self.to_world[:, :3], self.position + shift)))

    def resized(self, width: int | None = None, height: int | None = None) -> PhotoCamera:
        """The same view with another number of pixels; one side alone keeps the aspect ratio."""
        if width is None:
            width = self.width if height is None else max(1, round(self.width * height / self.height))
        if height is None:
            height = max(1, round(self.height * width / self.width))
        x, y = width / self.width, height / self.height
        return dataclasses.replace(
            self, width=width, height=height, fx=self.fx * x, fy=self.fy * y, cx=self.cx * x, cy=self.cy * y
        )

    def scaled(self, factor: float) -> PhotoCamera:
        """The same view with `factor` times as many pixels along each side."""
        return self.resized(max(1, round(self.width * factor)), max(1, round(self.height * factor)))

    def placed(self, to_world: np.ndarray) -> PhotoCamera:
        """The same camera with another camera-to-world matrix."""
        return dataclasses.replace(self, to_world=np.array(to_world, np.float64)[:3])

    def directions(self, pixels: np.ndarray) -> np.ndarray:
        """Unit directions in world space, float64 [N, 3], through points of the image, [N, 2] in pixels (column, row)."""
        pixels = np.asarray(pixels, np.float64)
        target = (pixels - (self.cx, self.cy)) / (self.fx, self.fy)
        if self.model == "fisheye":
            angle, radius = self._fisheye_angle(np.linalg.norm(target, axis=1)), np.linalg.norm(target, axis=1)
            sideways = np.where(radius > 0.0, np.sin(angle) / np.where(radius > 0.0, radius, 1.0), 1.0)
            local = np.column_stack((target * sideways[:, None] * (1.0, -1.0), -np.cos(angle)))
        else:
            x = self.undistort(target) if self.model == "opencv" else target
            local = np.column_stack((x[:, 0], -x[:, 1], -np.ones(len(x))))
        world = local @ self.to_world[:, :3].T
        return world / np.linalg.norm(world, axis=1, keepdims=True)

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Project points of the world, [N, 3], into the image: pixels [N, 2], and depths along the axis [N].

        Except with a fisheye lens, pixels of points that are not in front of the camera are NaN.
        """
        local = (np.asarray(points, np.float64) - self.position) @ np.linalg.inv(self.to_world[:, :3]).T
        right_down, depth = local[:, :2] * (1.0, -1.0), -local[:, 2]
        if self.model == "fisheye":
            radius = np.linalg.norm(right_down, axis=1)
            bent = self._fisheye_radius(np.arctan2(radius, depth))
            x = right_down * np.where(radius > 0.0, bent / np.where(radius > 0.0, radius, 1.0), 0.0)[:, None]
        else:
            x = right_down / np.where(depth > 0.0, depth, np.nan)[:, None]
            if self.model == "opencv":
                x = self.distort(x)
        return x * (self.fx, self.fy) + (self.cx, self.cy), depth

    def distort(self, x: np.ndarray) -> np.ndarray:
        """Distorted positions of points at depth 1, [N, 2] (right, down), by the model `opencv`."""
        return self._distorted(x)[0]

    def undistort(self, target: np.ndarray) -> np.ndarray:
        """The points that `distort` maps to `target`, [N, 2], by Newton's method; the closest one found if there is none."""
        x = np.array(target, np.float64)
        best, least = x.copy(), np.full(len(x), np.inf)
        for _ in range(ITERATIONS):
            value, jacobian = self._distorted(x)
            residual = value - target
            size = np.linalg.norm(residual, axis=1)
            better = size < least
            best[better], least[better] = x[better], size[better]
            determinant = np.linalg.det(jacobian)
            usable = np.isfinite(size) & (np.abs(determinant) > 1e-6)
            inverse = np.linalg.inv(np.where(usable[:, None, None], jacobian, np.eye(2)))
            step = np.einsum("nij,nj->ni", inverse, residual)
            # Limit steps to half the distance from the axis: beyond the fold of a polynomial there are other solutions
            longest = 0.5 * np.linalg.norm(x, axis=1) + 0.05
            length = np.linalg.norm(step, axis=1)
            step *= (longest / np.maximum(length, longest))[:, None]
            x = np.where(usable[:, None], x - step, x)
        return best

    def _distorted(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distorted points, and the Jacobian, [N, 2, 2]."""
        k1, k2, k3, k4, p1, p2 = self.distortion
        a, b = x[:, 0], x[:, 1]
        r2 = a * a + b * b
        factor = 1.0 + r2 * (k1 + r2 * (k2 + r2 * (k3 + r2 * k4)))
        slope = k1 + r2 * (2.0 * k2 + r2 * (3.0 * k3 + r2 * 4.0 * k4))  # derivative of the factor with respect to r^2
        value = np.column_stack(
            (
                a * factor + 2.0 * p1 * a * b + p2 * (r2 + 2.0 * a * a),
                b * factor + 2.0 * p2 * a * b + p1 * (r2 + 2.0 * b * b),
            )
        )
        jacobian = np.empty((len(x), 2, 2))
        jacobian[:, 0, 0] = factor + 2.0 * a * a * slope + 2.0 * p1 * b + 6.0 * p2 * a
        jacobian[:, 1, 1] = factor + 2.0 * b * b * slope + 2.0 * p2 * a + 6.0 * p1 * b
        jacobian[:, 0, 1] = jacobian[:, 1, 0] = 2.0 * a * b * slope + 2.0 * p1 * a + 2.0 * p2 * b
        return value, jacobian

    def _fisheye_radius(self, angle: np.ndarray) -> np.ndarray:
        k1, k2, k3, k4, _, _ = self.distortion
        t2 = angle * angle
        return angle * (1.0 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4))))

    def _fisheye_angle(self, radius: np.ndarray) -> np.ndarray:
        """The angles from the axis, in [0, pi], that appear at these radii; the closest one found if there is none."""
        k1, k2, k3, k4, _, _ = self.distortion
        angle = np.minimum(radius, math.pi)
        best, least = angle.copy(), np.full(len(angle), np.inf)
        for _ in range(ITERATIONS):
            residual = self._fisheye_radius(angle) - radius
            better = np.abs(residual) < least
            best[better], least[better] = angle[better], np.abs(residual[better])
            t2 = angle * angle
            slope = 1.0 + t2 * (3.0 * k1 + t2 * (5.0 * k2 + t2 * (7.0 * k3 + t2 * 9.0 * k4)))
            usable = np.abs(slope) > 1e-6
            step = np.where(usable, residual / np.where(usable, slope, 1.0), 0.0)
            longest = 0.5 * angle + 0.05
            angle = np.clip(angle - np.clip(step, -longest, longest), 0.0, math.pi)
        return best


def rigid_pose(matrix: ArrayLike, place: str) -> np.ndarray:
    """Check a camera-to-world matrix and remove scales from its axes.

    Args:
        matrix: [3, 4] or [4, 4].
        place: Start of messages.

    Returns:
        float64 [3, 4].

    Raises:
        DataError: The matrix is not finite, or it is singular, mirrored or sheared.
    """
    pose = np.array(matrix, np.float64)[:3]
    if not np.all(np.isfinite(pose)):
        raise DataError(f"{place}: the camera's matrix has numbers that are not finite")
    lengths = np.linalg.norm(pose[:, :3], axis=0)
    axes = pose[:, :3] / np.where(lengths > 0.0, lengths, 1.0)
    determinant = float(np.linalg.det(axes))
    if not np.all(lengths > 0.0) or abs(determinant) < 1e-6:
        raise DataError(f"{place}: the camera's matrix is singular: its axes do not span space")
    if determinant < 0.0:
        raise DataError(f"{place}: the camera's matrix mirrors: its axes are left-handed, which no photograph's are")
    if np.abs(axes.T @ axes - np.eye(3)).max() > SHEAR:
        raise DataError(f"{place}: the axes of the camera's matrix are not perpendicular")
    pose[:, :3] = axes
    return pose


def check_camera(camera: PhotoCamera, place: str) -> PhotoCamera:
    """Return the camera if its numbers are possible.

    Raises:
        DataError: A size, a focal length or another number is impossible.
    """
    if not (1 <= camera.width <= MAX_SIDE and 1 <= camera.height <= MAX_SIDE):
        raise DataError(
            f"{place}: images of {camera.width} x {camera.height} pixels (sides of 1 to {MAX_SIDE} are possible)"
        )
    numbers = (camera.fx, camera.fy, camera.cx, camera.cy, *camera.distortion)
    if not all(math.isfinite(number) for number in numbers):
        raise DataError(f"{place}: the camera's intrinsics have numbers that are not finite")
    if camera.fx <= 0.0 or camera.fy <= 0.0:
        raise DataError(f"{place}: the focal length must be positive, not {camera.fx:g} x {camera.fy:g}")
    return camera


def focal_length(size: int, angle: float, place: str) -> float:
    """Focal length in pixels of an image whose `size` pixels span an angle in radians. Raises `DataError` outside (0, pi)."""
    if not 0.0 < 0.5 * angle < 0.5 * math.pi:
        raise DataError(f"{place}: must lie between 0 and pi, not {angle:g}")
    return 0.5 * size / math.tan(0.5 * angle)
