"""The frusta of photographs' cameras: cells of the occupancy grid outside of all of them are never visited."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from nrc_tracer.tasks.nerf.camera import PhotoCamera
from nrc_tracer.tasks.nerf.occupancy import Frustum

WIDEST = 20.0
"""Largest tangent of the angle from the axis that a frustum covers; wider cameras count as seeing everything."""
BORDER_POINTS = 65
"""Points along each side of an image at which the frustum is measured."""


def frusta(cameras: Sequence[PhotoCamera], scale: float, offset: Sequence[float]) -> list[Frustum]:
    """The frusta of cameras in unit-cube space.

    Args:
        cameras: The cameras.
        scale: Factor from their units to unit cubes.
        offset: Position of their origin in unit-cube space.
    """
    return [frustum for camera in cameras for frustum in _frusta_of(camera, scale, offset)]


def _frusta_of(camera: PhotoCamera, scale: float, offset: Sequence[float]) -> list[Frustum]:
    axes = camera.to_world[:, :3] * (1.0, 1.0, -1.0)  # right, up, forward
    origin = camera.position * scale + np.asarray(offset, np.float64)
    along = np.linspace(0.0, 1.0, BORDER_POINTS)
    zero, one = np.zeros_like(along), np.ones_like(along)
    border = np.concatenate(
        [np.stack(pair, axis=1) for pair in ((along, zero), (along, one), (zero, along), (one, along))]
    )
    local = camera.directions(border * (camera.width, camera.height)) @ axes
    tangents = local[:, :2] / np.maximum(local[:, 2:], 1e-9)
    if np.abs(tangents).max() <= WIDEST and camera.model != "fisheye":
        (x0, y0), (x1, y1) = tangents.min(axis=0), tangents.max(axis=0)
        return [_frustum(axes, origin, (x0, x1, y0, y1))]
    everything = (-1e4, 1e4, -1e4, 1e4)
    return [_frustum(axes * (1.0, 1.0, sign), origin, everything) for sign in (1.0, -1.0)]


def _frustum(axes: np.ndarray, origin: np.ndarray, bounds: tuple[float, float, float, float]) -> Frustum:
    matrix = np.eye(4)
    matrix[:3, :3] = axes.T
    matrix[:3, 3] = -axes.T @ origin
    x0, x1, y0, y1 = (float(bound) for bound in bounds)
    return Frustum(torch.from_numpy(matrix).float(), (x0, x1, y0, y1))
