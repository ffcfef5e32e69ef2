"""Camera and sky for files that contain only geometry: a camera that sees everything, and a soft sky."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nrc_tracer.scene.model import EnvironmentMap, LookAt, Perspective, Rotate, Transform, TriangleMesh, Vec3
from nrc_tracer.scene.transforms import matrix
from nrc_tracer.scene.vectors import as_vec3

SOFT_SKY = "nrc:soft-sky"
"""Name that stands for the image `sky_pixels` in place of a file's name, in any scene."""

FIELD_OF_VIEW = 30.0
"""Field of view of a fitted camera along the shorter side of the image [degrees]."""
MARGIN = 1.06
"""Factor on the size of the object in the image, for a margin around it."""
FLAT = 0.05
"""Smallest extent of a flat object, as a fraction of its second largest one."""
CENTERING = 4
"""Number of steps that find the middle of the object in the image, whose error each reduces to a fraction."""
LYING_ELEVATION = 50.0
"""Elevation from which a flat object that lies on the ground is seen [degrees]."""
AZIMUTH, ELEVATION = 30.0, 18.0
"""Direction of the camera [degrees]: from the front (+z if y is up) to the right, and above the horizon."""


class Part(NamedTuple):
    """A part of an object whose camera is fitted.

    Attributes:
        mesh: Its triangles, not none.
        to_world: Their transform, shape [4, 4].
    """

    mesh: TriangleMesh
    to_world: np.ndarray = np.eye(4)

    def reach(self, direction: np.ndarray) -> float:
        """Return the largest scalar product of a vertex's position and a direction in world space."""
        local = self.to_world[:3, :3].T @ direction
        return float((self.mesh.positions.astype(np.float64) @ local).max() + self.to_world[:3, 3] @ direction)

    def facing(self) -> np.ndarray:
        """Return the sum of the triangles' normals in world space, each as long as twice the area, shape [3]."""
        linear = self.to_world[:3, :3]
        corners = self.mesh.positions.astype(np.float64)[self.mesh.indices] @ linear.T
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        # The tracer turns the triangles of mirrored meshes so that they face outwards still
        return normals.sum(axis=0) * (1.0 if np.linalg.det(linear) > 0.0 else -1.0)


def fitted_camera(parts: Sequence[Part], *, up: Vec3 = (0.0, 1.0, 0.0)) -> Perspective:
    """Return a camera that sees all vertices of an object, which fills the image, whatever the aspect ratio.

    It has a three-quarter view. A flat object is seen from the front, which is the side that most of its triangles face; one that
    lies on the ground is seen from further above.

    Args:
        parts: The parts of the object.
        up: Upward direction.
    """
    axes = matrix(_from_y_up(up))[:3, :3]  # the columns are right, up and front
    low, high = (np.array([side * _reach(parts, side * axis) for axis in axes.T]) for side in (-1.0, 1.0))
    size = high - low
    azimuth, elevation, side = _view(parts, axes, size)
    flat = math.cos(elevation)
    back = axes @ (flat * math.sin(azimuth), math.sin(elevation), flat * math.cos(azimuth) * side)
    right = np.cross(axes[:, 1], back)
    right /= np.linalg.norm(right)
    upward = np.cross(back, right)

    # A point at x across and z towards the camera is in the image if |x - center| <= (distance - z) slope
    slope = math.tan(math.radians(FIELD_OF_VIEW) / 2.0) / MARGIN
    middle = _middle(parts, back)
    distance = max(0.5 * sum(_ends(parts, axis, slope * back)) / slope - middle for axis in (right, upward))
    radius = 0.5 * float(np.linalg.norm(size))
    distance = max(distance, 1.1 * radius) or 1.0 / slope
    target = middle * back
    for axis in (right, upward):
        # Find the slope at which the object reaches equally far to both sides
        within = slope
        for _ in range(CENTERING):
            most, least = _ends(parts, axis, within * back)
            within = (0.5 * (most + least) - within * middle) / distance
        target = target + 0.5 * (most - least) * axis
    look = LookAt(origin=as_vec3(target + distance * back), target=as_vec3(target), up=up)
    return Perspective(to_world=(look,), fov=FIELD_OF_VIEW, fov_axis="smaller", focus_distance=distance)


def _view(parts: Sequence[Part], axes: np.ndarray, size: np.ndarray) -> tuple[float, float, float]:
    """Return the azimuth and elevation of the camera [radians], and -1 if it looks at a flat object from behind, else 1."""
    thin = int(np.argmin(size))
    if size[thin] > FLAT * np.sort(size)[1]:
        return math.radians(AZIMUTH), math.radians(ELEVATION), 1.0
    if thin == 1:
        return math.radians(AZIMUTH), math.radians(LYING_ELEVATION), 1.0
    faces = float(sum(part.facing() for part in parts) @ axes[:, thin])
    side = -1.0 if faces < 0.0 else 1.0
    return (0.5 * math.pi * side, 0.0, 1.0) if thin == 0 else (0.0, 0.0, side)


def _reach(parts: Sequence[Part], direction: np.ndarray) -> float:
    """Return how far the object reaches in a direction, as the largest scalar product."""
    return max(part.reach(direction) for part in parts)


def _ends(parts: Sequence[Part], axis: np.ndarray, tilt: np.ndarray) -> tuple[float, float]:
    """Return how far the object reaches along an axis and against it, both tilted towards the camera."""
    return _reach(parts, tilt + axis), _reach(parts, tilt - axis)


def _middle(parts: Sequence[Part], direction: np.ndarray) -> float:
    """Return the middle of the object along a direction."""
    return 0.5 * (_reach(parts, direction) - _reach(parts, -direction))


def soft_sky(*, up: Vec3 = (0.0, 1.0, 0.0)) -> EnvironmentMap:
    """Return a bright sky with a broad, warm light from the upper left behind the camera, and a darker ground."""
    return EnvironmentMap(file=SOFT_SKY, to_world=_from_y_up(up))


def sky_pixels(height: int = 128) -> np.ndarray:
    """Return the image of `soft_sky`, linear radiance, shape [height, 2 height, 3], float32."""
    polar = math.pi * (np.arange(height) + 0.5) / height
    turn = 2.0 * math.pi * (np.arange(2 * height) + 0.5) / (2 * height)
    phi, theta = np.meshgrid(turn, polar)
    # The direction of each pixel of an EnvironmentMap: u = atan2(x, -z) / 2 pi
    direction = np.stack([np.sin(phi) * np.sin(theta), np.cos(theta), -np.cos(phi) * np.sin(theta)], axis=-1)
    y = direction[..., 1:2]
    zenith, horizon, ground = (np.array(c) for c in ((0.20, 0.29, 0.44), (0.46, 0.50, 0.55), (0.13, 0.13, 0.14)))
    sky = horizon + (zenith - horizon) * np.clip(y, 0.0, 1.0) ** 0.6
    blend = 0.5 + 0.5 * np.tanh((y + 0.1) / 0.22)  # avoids a sharp line at the horizon
    pixels = ground + (sky - ground) * blend
    key = np.array((-0.55, 0.75, 0.75))
    cosine = direction @ (key / np.linalg.norm(key))
    pixels = pixels + np.exp((cosine[..., None] - 1.0) / 0.02) * np.array((26.0, 24.0, 21.5))
    return pixels.astype(np.float32)


def _from_y_up(up: Vec3) -> Transform:
    """Return the rotation that takes +y to `up`."""
    x, y, z = (np.asarray(up, np.float64) / np.linalg.norm(up)).tolist()
    angle = math.degrees(math.acos(min(1.0, max(-1.0, y))))
    length = math.hypot(x, z)
    axis = (z / length, 0.0, -x / length) if length > 1e-9 else (1.0, 0.0, 0.0)
    return (Rotate(axis=axis, angle=angle),) if angle else ()
