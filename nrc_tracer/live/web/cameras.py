"""Cameras of viser's page and cameras of scenes.

viser's cameras look along local +z with +y down and +x to the right; those of scenes look along +z with +y up and +x to the left.
Both have quaternions or matrices from local to world space.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from msgspec.structs import replace

from nrc_tracer.scene.model import Camera, Matrix, Perspective, Row
from nrc_tracer.scene.transforms import matrix

FOV_OF_ORTHOGRAPHIC = 45.0
"""Vertical field of view of the page where the scene's camera is orthographic, which the page's cannot be [degrees]."""


@dataclass(frozen=True)
class Pose:
    """The place of a page's camera.

    Attributes:
        position: Where it is, in world space.
        look_at: The point at the centre of its picture, about which it orbits.
        up: The direction that is vertical in its picture.
        fov: Vertical field of view [radians].
    """

    position: tuple[float, float, float]
    look_at: tuple[float, float, float]
    up: tuple[float, float, float]
    fov: float


def pose_of(
    camera: Camera,
    aspect: float,
    bounds: tuple[np.ndarray, np.ndarray] | None = None,
    center: tuple[float, float, float] | None = None,
) -> Pose:
    """The place of a scene's camera.

    Args:
        camera: The camera.
        aspect: Width over height of its pictures.
        bounds: Lowest and highest corner of the scene, near whose middle it orbits; None if there is nothing.
        center: The surface point at the centre of its picture, which it orbits about instead; None if there is none. In a closed
            room the middle of the scene may lie behind a wall.
    """
    to_world = matrix(camera.to_world)
    position, forward, up = to_world[:3, 3], _unit(to_world[:3, 2]), _unit(to_world[:3, 1])
    distance = 1.0
    if bounds is not None:
        low, high = bounds
        size = float(np.linalg.norm(high - low)) or 1.0
        distance = max(float(((low + high) / 2 - position) @ forward), 0.05 * size)
    if center is not None:
        distance = float((np.asarray(center) - position) @ forward) or distance
    look_at = position + distance * forward
    return Pose(triple(position), triple(look_at), triple(up), math.radians(vertical_fov(camera, aspect)))


def vertical_fov(camera: Camera, aspect: float) -> float:
    """The vertical field of view of a scene's camera [degrees]; `aspect` is the width of its pictures over the height."""
    if not isinstance(camera, Perspective):
        return FOV_OF_ORTHOGRAPHIC
    along = {
        "x": aspect,
        "y": 1.0,
        "diagonal": math.hypot(aspect, 1.0),
        "smaller": min(aspect, 1.0),
        "larger": max(aspect, 1.0),
    }[camera.fov_axis]
    return math.degrees(2.0 * math.atan(math.tan(math.radians(camera.fov) / 2.0) / along))


def camera_of(
    start: Camera, wxyz: tuple[float, ...] | np.ndarray, position: tuple[float, ...] | np.ndarray, fov: float
) -> Perspective:
    """A scene's camera at the place of a page's.

    Args:
        start: The camera with which the page started; its lens and its clipping planes are kept.
        wxyz: The page's rotation, a quaternion.
        position: Where it is.
        fov: Its vertical field of view [radians].
    """
    return _camera(start, rotation_matrix(wxyz), position, fov)


def _camera(start: Camera, rotation: np.ndarray, position: tuple[float, ...] | np.ndarray, fov: float) -> Perspective:
    """A scene's camera whose local axes +x to the right, +y down and +z forward are the columns of `rotation`."""
    to_world = np.eye(4)
    mirrored = np.linalg.det(matrix(start.to_world)[:3, :3]) < 0.0
    to_world[:3, 0] = rotation[:, 0] if mirrored else -rotation[:, 0]
    to_world[:3, 1] = -rotation[:, 1]
    to_world[:3, 2] = rotation[:, 2]
    to_world[:3, 3] = position
    first, second, third, last = (_row(row) for row in to_world)
    base = start if isinstance(start, Perspective) else Perspective()
    to_world_steps = (Matrix((first, second, third, last)),)
    return replace(base, to_world=to_world_steps, fov=math.degrees(fov), fov_axis="y")


def posed_camera(start: Camera, pose: Pose) -> Perspective:
    """A scene's camera at a pose; see `camera_of`."""
    forward = _unit(np.asarray(pose.look_at) - np.asarray(pose.position))
    right = np.cross(forward, np.asarray(pose.up))
    right = (
        _unit(right)
        if np.linalg.norm(right) > 1e-9
        else _unit(np.cross(forward, np.eye(3)[np.argmin(np.abs(forward))]))
    )
    return _camera(start, np.stack([right, np.cross(forward, right), forward], axis=1), pose.position, pose.fov)


def rotation_matrix(wxyz: tuple[float, ...] | np.ndarray) -> np.ndarray:
    """The rotation of a quaternion of any length but 0, [3, 3]."""
    w, x, y, z = np.asarray(wxyz, dtype=np.float64) / np.linalg.norm(wxyz)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def world_up(camera: Camera) -> tuple[float, float, float]:
    """The axis of the world that is vertical, as the camera stands: it orbits about this one."""
    up = _unit(matrix(camera.to_world)[:3, 1])
    axis = np.zeros(3)
    largest = int(np.argmax(np.abs(up)))
    axis[largest] = np.sign(up[largest])
    return triple(axis)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def _row(values: np.ndarray) -> Row:
    x, y, z, w = (float(value) for value in values)
    return x, y, z, w


def triple(vector: np.ndarray) -> tuple[float, float, float]:
    """A vector as three numbers of Python."""
    x, y, z = (float(value) for value in vector)
    return x, y, z
