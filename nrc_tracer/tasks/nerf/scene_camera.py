"""Converting cameras of this package's scenes to cameras of photographs, and back."""

from __future__ import annotations

import math

import numpy as np

from nrc_tracer.errors import DataError
from nrc_tracer.scene.model import Camera as SceneCamera
from nrc_tracer.scene.model import Matrix, Perspective
from nrc_tracer.scene.transforms import matrix
from nrc_tracer.tasks.nerf.camera import PhotoCamera

TURN = np.diag((-1.0, 1.0, -1.0))
"""Rotation from a scene camera's axes (x left, y up, z forward) to a photograph's (x right, y up, z backward), and back."""


def photograph_camera(camera: SceneCamera, width: int, height: int) -> PhotoCamera:
    """A scene's camera for an image of a given size; the aperture of its lens is ignored.

    Raises:
        DataError: It is not a perspective camera.
    """
    if not isinstance(camera, Perspective):
        raise DataError("only perspective cameras can take photographs; this one is orthographic")
    to_world = matrix(camera.to_world)
    axes = to_world[:3, :3] / np.linalg.norm(to_world[:3, :3], axis=0)
    half = math.tan(math.radians(camera.fov) / 2.0)
    sides = {
        "x": width,
        "y": height,
        "diagonal": math.hypot(width, height),
        "smaller": min(width, height),
        "larger": max(width, height),
    }
    focal = 0.5 * sides[camera.fov_axis] / half
    shift_x, shift_y = camera.principal_point_offset
    pose = np.column_stack((axes @ TURN, to_world[:3, 3]))
    return PhotoCamera(width, height, focal, focal, width * (0.5 - shift_x), height * (0.5 - shift_y), to_world=pose)


def scene_camera(camera: PhotoCamera) -> Perspective:
    """A photograph's camera as a scene's camera, with a film of the photograph's size.

    Raises:
        DataError: It has lens distortion or pixels that are not square, which a scene's camera cannot have.
    """
    if camera.model != "pinhole" or abs(camera.fx / camera.fy - 1.0) > 1e-6:
        raise DataError("a scene's camera must have square pixels and no distortion, unlike this one")
    to_world = np.eye(4)
    to_world[:3, :3] = camera.to_world[:, :3] @ TURN
    to_world[:3, 3] = camera.position
    return Perspective(
        to_world=(_matrix(to_world),),
        fov=2.0 * math.degrees(math.atan(0.5 * camera.width / camera.fx)),
        fov_axis="x",
        principal_point_offset=(0.5 - camera.cx / camera.width, 0.5 - camera.cy / camera.height),
    )


def _matrix(values: np.ndarray) -> Matrix:
    def row(index: int) -> tuple[float, float, float, float]:
        x, y, z, w = values[index].tolist()
        return x, y, z, w

    return Matrix(value=(row(0), row(1), row(2), row(3)))


def looking_at(origin: np.ndarray, target: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Camera-to-world matrix of a photograph, float64 [3, 4], at `origin`, with `target` at the centre of the image."""
    backward = np.asarray(origin, np.float64) - target
    backward = backward / np.linalg.norm(backward)
    right = np.cross(up, backward)
    if np.linalg.norm(right) < 1e-6:  # the view is straight up or down, so any other axis will do
        right = np.cross(np.roll(up, 1), backward)
    right = right / np.linalg.norm(right)
    return np.column_stack((right, np.cross(backward, right), backward, origin))
