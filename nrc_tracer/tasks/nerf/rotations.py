"""Rotations as matrices and as quaternions."""

from __future__ import annotations

import numpy as np


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """Quaternion (w, x, y, z), w >= 0, of a rotation [3, 3]: an eigenvector of Bar-Itzhack's matrix (2000), always stable."""
    (a, b, c), (d, e, f), (g, h, i) = rotation
    matrix = np.array(
        [
            [a + e + i, h - f, c - g, d - b],
            [h - f, a - e - i, b + d, c + g],
            [c - g, b + d, e - a - i, f + h],
            [d - b, c + g, f + h, i - a - e],
        ]
    )
    vector = np.linalg.eigh(matrix)[1][:, -1]
    return vector if vector[0] >= 0.0 else -vector


def rotation_of(quaternion: np.ndarray) -> np.ndarray:
    """Rotation [3, 3] of a quaternion (w, x, y, z) of any length but 0."""
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array(
        [
            [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)],
            [2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)],
            [2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)],
        ]
    )


def turning(vector: np.ndarray) -> np.ndarray:
    """Rotation [3, 3] about the axis `vector` [3] by the vector's length, in radians."""
    angle = float(np.linalg.norm(vector))
    half_sinc = 0.5 * np.sinc(angle / (2.0 * np.pi))
    return rotation_of(np.array([np.cos(0.5 * angle), *(half_sinc * vector)]))
