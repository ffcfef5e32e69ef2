"""What a view's camera sees: its rays, and the rectangle of a plane in front of it."""

from __future__ import annotations

import numpy as np

from nrc_tracer.errors import NrcError
from nrc_tracer.live.view import View
from nrc_tracer.scene.model import LookAt, Perspective
from nrc_tracer.tasks.nerf.scene_camera import photograph_camera


class Sight:
    """A perspective camera without its lens.

    Args:
        view: The view, whose size decides how far the camera sees to the sides.

    Attributes:
        origin: Where the camera is, float64 [3].
        right, up, forward: Unit vectors of the picture's axes, float64 [3].
        half_width, half_height: Half sides of the picture at distance 1.

    Raises:
        NrcError: The camera is orthographic.
    """

    def __init__(self, view: View) -> None:
        if not isinstance(view.camera, Perspective):
            raise NrcError("fitted models are seen through perspective cameras, and this one is orthographic")
        camera = photograph_camera(view.camera, view.width, view.height)
        self.origin = camera.position
        self.right, self.up, self.forward = camera.to_world[:, 0], camera.to_world[:, 1], camera.forward
        self.half_width, self.half_height = 0.5 * view.width / camera.fx, 0.5 * view.height / camera.fy

    def directions(self, points: np.ndarray) -> np.ndarray:
        """Unit directions, float64 [N, 3], through points of the picture, fractions of its width and height, [N, 2]."""
        across = (2.0 * points[:, :1] - 1.0) * self.half_width
        down = (2.0 * points[:, 1:] - 1.0) * self.half_height
        directions = self.forward + across * self.right - down * self.up
        return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def camera_at(position: np.ndarray, target: np.ndarray, up: np.ndarray, fov: float) -> Perspective:
    """A camera that looks at a point; `fov` is its vertical field of view [degrees]."""
    return Perspective(to_world=(LookAt(_triple(position), _triple(target), _triple(up)),), fov=fov, fov_axis="y")


def _triple(vector: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in vector)
    return x, y, z
