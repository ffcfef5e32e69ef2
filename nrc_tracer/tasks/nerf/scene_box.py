"""Where a scene lies in the model's coordinates, from what the data say or from the cameras."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nrc_tracer.errors import DataError
from nrc_tracer.tasks.nerf.camera import Camera
from nrc_tracer.tasks.nerf.space import MAX_EXTENT
from nrc_tracer.tasks.nerf.views import Placement

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


def place_scene(
    said: Placement, wanted: Placement, cameras: Sequence[Camera] | None, place: str
) -> tuple[dict[str, Any], list[str]]:
    """Decide where a scene lies in the model's coordinates.

    Args:
        said: What the data say.
        wanted: What a user wants instead.
        cameras: Of data whose units are arbitrary: what nobody says is chosen from them. None where instant-ngp's usual numbers
            hold instead.
        place: What messages begin with.

    Returns:
        `aabb_scale`, `scale` and `offset` of `Views`, and sentences about what was chosen.

    Raises:
        DataError: The scene cannot be placed so.
    """
    scale, offset, side = (
        ours if ours is not None else theirs
        for ours, theirs in (
            (wanted.scale, said.scale),
            (wanted.offset, said.offset),
            (wanted.aabb_scale, said.aabb_scale),
        )
    )
    notes = []
    if cameras is not None and (scale is None or offset is None):
        scale, offset, note = from_cameras(cameras, scale, offset)
        notes.append(note)
    scale, offset = _checked(USUAL_SCALE if scale is None else scale, USUAL_OFFSET if offset is None else offset, place)
    chosen = side is None and cameras is not None
    if side is None:
        side = UNBOUNDED_AABB_SCALE if chosen else 1
    power = power_of_two(side, place)
    if power != side:
        notes.append(f"aabb_scale {side:g} becomes {power}, the next power of two")
    elif chosen:
        notes.append(f"aabb_scale is {power}, as nothing tells how far the scene reaches")
    return {"aabb_scale": power, "scale": scale, "offset": offset}, notes


def from_cameras(
    cameras: Sequence[Camera], scale: float | None = None, offset: Sequence[float] | None = None
) -> tuple[float, Sequence[float], str]:
    """Choose scale and offset so that the centre of attention is at (0.5, 0.5, 0.5), and cameras at a mean distance of 1.32.

    Args:
        cameras: The cameras.
        scale: Where it is given already.
        offset: Likewise.

    Returns:
        Scale, offset, and a sentence about what was chosen.
    """
    center, words = center_of_attention(cameras)
    distance = float(np.mean([np.linalg.norm(camera.position - center) for camera in cameras]))
    chosen, reasons, seen_from = [], [], "it" if offset is None else words
    if scale is None:
        scale = CAMERA_DISTANCE / distance if distance > 0.0 else USUAL_SCALE
        chosen.append(f"scale {scale:.4g}")
        reasons.append(f"they are at a mean distance of {distance * scale:.4g} from {seen_from}")
    if offset is None:
        offset = tuple(0.5 - value * scale for value in center.tolist())
        chosen.append(f"offset {_words(offset)}")
        reasons.insert(0, f"{words} is in the middle")
    note = f"{' and '.join(chosen)}, chosen from the cameras: {', and '.join(reasons)}"
    return scale, offset, note


def power_of_two(value: float, place: str) -> int:
    """The smallest power of two that is not below `value`, from 1 on. Raises `DataError` beyond 128, and unless it is above 0."""
    if not 0.0 < value <= MAX_EXTENT:
        raise DataError(f"{place}: aabb_scale must be above 0 and at most {MAX_EXTENT}, not {value:g}")
    return 2 ** max(0, math.ceil(math.log2(value)))


def _checked(scale: float, offset: Sequence[float], place: str) -> tuple[float, tuple[float, float, float]]:
    """Scale and offset as numbers. Raises `DataError` if they are none that a scene can be placed by."""
    if not (math.isfinite(scale) and scale > 0.0):
        raise DataError(f"{place}: scale must be a positive number, not {scale:g}")
    if len(offset) != 3 or not all(math.isfinite(value) for value in offset):
        raise DataError(f"{place}: offset must be three finite numbers")
    return float(scale), tuple(float(value) for value in offset)


def _words(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:.3g}" for value in values) + ")"
