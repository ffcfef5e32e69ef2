"""Camera paths: poses that a page has recorded, and the smooth flight through them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nrc_tracer.live.web.cameras import Pose, triple

SECONDS_PER_POSE = 1.5
"""Time from one recorded pose to the next [s]."""


def flight_seconds(poses: Sequence[Pose]) -> float:
    """Duration of the flight through poses [s]."""
    return SECONDS_PER_POSE * max(len(poses) - 1, 0)


def pose_at(poses: Sequence[Pose], seconds: float) -> Pose:
    """The pose at a time of the flight [s], on a Catmull-Rom curve through all poses; times beyond its ends are clipped.

    Args:
        poses: At least one pose.
        seconds: Time since the first pose [s].
    """
    place = min(max(seconds / SECONDS_PER_POSE, 0.0), len(poses) - 1.0)
    index = min(int(place), max(len(poses) - 2, 0))
    around = [poses[min(max(index + offset, 0), len(poses) - 1)] for offset in (-1, 0, 1, 2)]
    t = place - index
    weights = 0.5 * np.array(
        [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3], np.float64
    )
    position, look_at, up = (
        triple(weights @ np.array([getattr(pose, name) for pose in around])) for name in ("position", "look_at", "up")
    )
    return Pose(position, look_at, up, float(weights @ np.array([pose.fov for pose in around])))
