"""Camera paths: poses that a page has recorded, and the smooth flight through them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nrc_tracer.live.web.cameras import Pose, triple

SECONDS_PER_POSE = 1.5
"""Time from one recorded pose to the next [s]."""

LEAST_DISTANCE = 0.1
"""Least distance from the camera to its orbit centre, as a fraction of the smaller distance of the two poses around it."""


def flight_seconds(poses: Sequence[Pose]) -> float:
    """Duration of the flight through poses [s]."""
    return SECONDS_PER_POSE * max(len(poses) - 1, 0)


def pose_at(poses: Sequence[Pose], seconds: float) -> Pose:
    """The pose at a time of the flight [s], on a Catmull-Rom curve through all poses; times beyond its ends are clipped.

    The field of view stays between those of the two poses around this time. Where the curves of the camera and of its orbit
    centre meet, the camera turns from the direction of one pose to that of the other.

    Args:
        poses: At least one pose, each with its orbit centre apart from its position.
        seconds: Time since the first pose [s].
    """
    place = min(max(seconds / SECONDS_PER_POSE, 0.0), len(poses) - 1.0)
    index = min(int(place), max(len(poses) - 2, 0))
    around = [poses[min(max(index + offset, 0), len(poses) - 1)] for offset in (-1, 0, 1, 2)]
    before, after = around[1:3]
    t = place - index
    weights = 0.5 * np.array(
        [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3], np.float64
    )
    position, look_at, up = (
        weights @ np.array([getattr(pose, name) for pose in around]) for name in ("position", "look_at", "up")
    )
    nearer_up = np.array((before if t < 0.5 else after).up)
    up = up if np.linalg.norm(up) > 1e-3 * np.linalg.norm(nearer_up) else nearer_up
    sights = [np.subtract(pose.look_at, pose.position) for pose in (before, after)]
    least = LEAST_DISTANCE * min(float(np.linalg.norm(sight)) for sight in sights)
    if np.linalg.norm(look_at - position) < least:
        look_at = position + least * _turned(sights[0], sights[1], nearer_up, t)
    fov = float(weights @ np.array([pose.fov for pose in around]))
    fov = min(max(fov, min(before.fov, after.fov)), max(before.fov, after.fov))
    return Pose(triple(position), triple(look_at), triple(up / (np.linalg.norm(up) or 1.0)), fov)


def _turned(first: np.ndarray, second: np.ndarray, up: np.ndarray, t: float) -> np.ndarray:
    """The unit vector at the fraction `t` of the turn from one direction to another; opposite directions turn about `up`."""
    a, b = first / np.linalg.norm(first), second / np.linalg.norm(second)
    axis = np.cross(a, b)
    angle = t * float(np.arctan2(np.linalg.norm(axis), a @ b))
    for candidate in (axis, up - (up @ a) * a, np.cross(a, np.eye(3)[np.argmin(np.abs(a))])):
        length = float(np.linalg.norm(candidate))
        if length > 1e-6:
            return np.asarray(np.cos(angle) * a + np.sin(angle) * np.cross(candidate / length, a))
    return a
