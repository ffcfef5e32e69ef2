"""Vertex colours as mesh files store them: integer sRGB codes or linear floats."""

from __future__ import annotations

import numpy as np


def decode_srgb(encoded: np.ndarray) -> np.ndarray:
    """Decode sRGB values in [0, 1] to linear ones, any shape, float64 (IEC 61966-2-1)."""
    encoded = np.asarray(encoded, np.float64)
    return np.where(encoded <= 0.04045, encoded / 12.92, ((np.maximum(encoded, 0.0) + 0.055) / 1.055) ** 2.4)


def linear_colors(columns: list[np.ndarray]) -> np.ndarray:
    """Combine columns for red, green, blue and optionally alpha.

    Args:
        columns: 3 or 4 arrays of shape [count]. Integers span the range of their type, and encode colours in sRGB; floats are
            linear.

    Returns:
        Linear RGB and opacity, shape [count, 4], float32; values that are not finite become 0.
    """
    result = np.ones((len(columns[0]), 4))
    for channel, column in enumerate(columns):
        values = column.astype(np.float64)
        if column.dtype.kind in "iu":
            values = values / np.iinfo(column.dtype).max
            values = decode_srgb(values) if channel < 3 else values
        result[:, channel] = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    return result.astype(np.float32)
