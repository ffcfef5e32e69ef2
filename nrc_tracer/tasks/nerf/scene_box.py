"""The placement of a scene in unit-cube space, as given by the data or chosen from the cameras."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nrc_tracer.errors import DataError
from nrc_tracer.tasks.nerf.camera import PhotoCamera
from nrc_tracer.tasks.nerf.space import MAX_EXTENT

USUAL_SCALE, USUAL_OFFSET = 0.33, (0.5, 0.5, 0.5)
"""instant-ngp's scale and offset for files without them."""
CAMERA_DISTANCE = 4.0 * USUAL_SCALE
"""Mean distance of the cameras from the centre of attention if the scale is chosen from them, in unit cubes: 4 in instant-ngp's
units."""
ONE_PLACE = 1e-9
"""Largest distance between cameras that are in one place, as a fraction of their largest coordinate: positions are rounded."""
UNBOUNDED_AABB_SCALE = 16
"""Side of the cube for photographs if the scene's size is not given, in unit cubes; large, since they show a background."""


@dataclass(frozen=True)
class Placement:
    """Where a scene lies in unit-cube space, as far as it is given; see `Views` for the meaning of the numbers."""

    aabb_scale: float | None = None
    scale: float | None = None
    offset: tuple[float, ...] | None = None


@dataclass(frozen=True)
class SceneBox:
    """Where a scene lies in unit-cube space, decided; see `Views` for the meaning of the numbers."""

    aabb_scale: int
    scale: float
    offset: tuple[float, float, float]


def center_of_attention(cameras: Sequence[PhotoCamera]) -> tuple[np.ndarray, str]:
    """The point closest to all optical axes in the least-squares sense, float64 [3], and words for it.

    If the axes are parallel, or most of them diverge from that point, it is the mean position of the cameras.
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


def check_parallax(cameras: Sequence[PhotoCamera], place: str) -> None:
    """Raise `DataError` if several cameras are all in one place, up to the rounding of their positions."""
    positions = np.array([camera.position for camera in cameras])
    if len(cameras) < 2 or np.ptp(positions, axis=0).max() > ONE_PLACE * np.abs(positions).max():
        return
    raise DataError(
        f"{place}: all {len(cameras)} cameras are at {_words(positions[0])}; without photographs from different places no depth "
        "can be learned"
    )


def place_scene(
    given: Placement, requested: Placement, cameras: Sequence[PhotoCamera] | None, place: str
) -> tuple[SceneBox, list[str]]:
    """Decide where a scene lies in unit-cube space.

    Args:
        given: The data's placement.
        requested: The user's placement, which overrides the data's.
        cameras: Cameras of data with arbitrary units: what is not given is chosen from them. None if instant-ngp's usual numbers
            apply instead.
        place: Start of messages.

    Returns:
        The box, and sentences about what was chosen.

    Raises:
        DataError: The scene cannot be placed so.
    """
    scale = given.scale if requested.scale is None else requested.scale
    offset = given.offset if requested.offset is None else requested.offset
    side = given.aabb_scale if requested.aabb_scale is None else requested.aabb_scale
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
        notes.append(f"aabb_scale is {power}, because the size of the scene is not given")
    return SceneBox(power, scale, offset), notes


def from_cameras(
    cameras: Sequence[PhotoCamera], scale: float | None = None, offset: Sequence[float] | None = None
) -> tuple[float, tuple[float, ...], str]:
    """Choose scale and offset so that the centre of attention is at (0.5, 0.5, 0.5) and cameras are 1.32 away on average.

    Args:
        cameras: The cameras.
        scale: The scale, if it is given.
        offset: The offset, if it is given.

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
    return scale, tuple(offset), note


def power_of_two(value: float, place: str) -> int:
    """The smallest power of two that is at least `value`, and at least 1. Raises `DataError` outside (0, 128]."""
    if not 0.0 < value <= MAX_EXTENT:
        raise DataError(f"{place}: aabb_scale must be above 0 and at most {MAX_EXTENT}, not {value:g}")
    return 2 ** max(0, math.ceil(math.log2(value)))


def _checked(scale: float, offset: Sequence[float], place: str) -> tuple[float, tuple[float, float, float]]:
    """Scale and offset, checked. Raises `DataError` if a scene cannot be placed by them."""
    if not (math.isfinite(scale) and scale > 0.0):
        raise DataError(f"{place}: scale must be a positive number, not {scale:g}")
    if len(offset) != 3 or not all(math.isfinite(value) for value in offset):
        raise DataError(f"{place}: offset must be three finite numbers")
    x, y, z = (float(value) for value in offset)
    return float(scale), (x, y, z)


def _words(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:.3g}" for value in values) + ")"
