"""Where a scene lies in the model's coordinates, from what the data say or from the cameras."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nrc_tracer.errors import DataError
from nrc_tracer.tasks.nerf.camera import Camera
from nrc_tracer.tasks.nerf.views import LARGEST_AABB_SCALE

USUAL_SCALE, USUAL_OFFSET = 0.33, (0.5, 0.5, 0.5)
"""instant-ngp's where a file has no other."""
CAMERA_DISTANCE = 4.0 * USUAL_SCALE
"""From the centre of attention, in the model's coordinates, where the cameras decide: 4 in instant-ngp's units."""
UNBOUNDED_AABB_SCALE = 16
"""Side of the cube where nothing tells how far the scene reaches: photographs have a background."""


def center_of_attention(cameras: Sequence[Camera]) -> tuple[np.ndarray, str]:
    """The point nearest to all axes of view, by least squares, float64 [3], and words for it.

    Where the axes are parallel, or most part from there, it is the mean position of the cameras.
    """
    positions = np.array([camera.position for camera in cameras])
    axes = np.array([camera.forward for camera in cameras])
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    total = across.sum(axis=0)
    if len(cameras) > 1 and np.linalg.eigvalsh(total)[0] > 1e-4 * len(cameras):
        seen = np.linalg.solve(total, np.einsum("nij,nj->i", across, positions))
        if np.mean(np.einsum("ni,ni->n", seen - positions, axes) > 0.0) > 0.5:
            return seen, "what the cameras look at"
    return positions.mean(axis=0), "the middle of the cameras"


def from_cameras(cameras: Sequence[Camera]) -> tuple[float, tuple[float, float, float], str]:
    """Choose scale and offset so that the centre of attention is at (0.5, 0.5, 0.5), and cameras at a mean distance of 1.32.

    Returns:
        Scale, offset, and a sentence that says so.
    """
    center, words = center_of_attention(cameras)
    distance = float(np.mean([np.linalg.norm(camera.position - center) for camera in cameras]))
    scale = CAMERA_DISTANCE / distance if distance > 0.0 else USUAL_SCALE
    offset = tuple((0.5 - center * scale).tolist())
    note = (
        f"scale {scale:.4g} and offset {_words(offset)} were chosen from the cameras: {words} is in the middle, and they are "
        f"at a mean distance of {CAMERA_DISTANCE:g} from it"
    )
    return scale, offset, note


def power_of_two(value: float, place: str) -> int:
    """The smallest power of two that is not below `value`, from 1 on. Raises `DataError` beyond 128, or if it is no number."""
    if not (math.isfinite(value) and 0.0 < value <= LARGEST_AABB_SCALE):
        raise DataError(f"{place}: aabb_scale must lie in 1 to {LARGEST_AABB_SCALE}, not {value:g}")
    return 2 ** max(0, math.ceil(math.log2(value)))


def check_placement(scale: float, offset: Sequence[float], place: str) -> tuple[float, tuple[float, float, float]]:
    """Return scale and offset as numbers. Raises `DataError` if they are none that a scene can be placed by."""
    if not (math.isfinite(scale) and scale > 0.0):
        raise DataError(f"{place}: scale must be a positive number, not {scale:g}")
    if len(offset) != 3 or not all(math.isfinite(value) for value in offset):
        raise DataError(f"{place}: offset must be three finite numbers")
    return float(scale), tuple(float(value) for value in offset)


def _words(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:.3g}" for value in values) + ")"
