"""Camera and sky for files that contain only geometry: a camera that sees everything, and a soft sky."""

from __future__ import annotations

import math

import numpy as np

from nrc_tracer.scene.model import EnvironmentMap, LookAt, Perspective, Rotate, Transform, Vec3
from nrc_tracer.scene.transforms import matrix
from nrc_tracer.scene.vectors import as_vec3

SOFT_SKY = "nrc:soft-sky"
"""Name that stands for the image `sky_pixels` in place of a file's name, in any scene."""

FIELD_OF_VIEW = 30.0
"""Field of view of a fitted camera along the shorter side of the image [degrees]."""
MARGIN = 1.03
"""Factor on the radius of the scene's bounding sphere, for a margin around it in the image."""
AZIMUTH, ELEVATION = 30.0, 18.0
"""Direction of the camera [degrees]: from the front (+z if y is up) to the right, and above the horizon."""


def fitted_camera(bounds: tuple[Vec3, Vec3], *, up: Vec3 = (0.0, 1.0, 0.0)) -> Perspective:
    """Return a camera with a three-quarter view of a box. It sees the whole bounding sphere, whatever the aspect ratio.

    Args:
        bounds: Lowest and highest corner of the box.
        up: Upward direction.
    """
    low, high = np.asarray(bounds[0], np.float64), np.asarray(bounds[1], np.float64)
    center, radius = 0.5 * (low + high), 0.5 * float(np.linalg.norm(high - low)) or 1.0
    azimuth, elevation = math.radians(AZIMUTH), math.radians(ELEVATION)
    flat = math.cos(elevation)
    direction = (flat * math.sin(azimuth), math.sin(elevation), flat * math.cos(azimuth))
    distance = MARGIN * radius / math.sin(math.radians(FIELD_OF_VIEW) / 2.0)
    origin = center + distance * (matrix(_from_y_up(up))[:3, :3] @ direction)
    look = LookAt(origin=as_vec3(origin), target=as_vec3(center), up=up)
    return Perspective(to_world=(look,), fov=FIELD_OF_VIEW, fov_axis="smaller", focus_distance=distance)


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
