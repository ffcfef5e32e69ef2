"""The type in which positions are kept: float32, or float64 where they lie far from the origin."""

from __future__ import annotations

import numpy as np

FAR = 64.0
"""Largest coordinate, as a multiple of the extent, above which positions count as far from the origin."""


def is_far(low: np.ndarray, high: np.ndarray) -> bool:
    """Return whether a box, given by its lowest and highest corner, lies far from the origin for its size; a point does not."""
    extent = float(np.max(high - low))
    return extent > 0.0 and max(float(np.abs(low).max()), float(np.abs(high).max())) > FAR * extent


def step_at(coordinate: float) -> float:
    """Return the distance between float32 numbers of the size of a coordinate."""
    return float(np.spacing(np.float32(abs(coordinate))))


def stored_positions(positions: np.ndarray) -> np.ndarray:
    """Return positions as float32, or as float64 where they are far from the origin and float32 would move them.

    Args:
        positions: Shape [count, 3], of any type of numbers.
    """
    with np.errstate(over="ignore"):  # numbers beyond float32 become infinite, which readers refuse
        rounded = positions.astype(np.float32)
    if positions.dtype != np.float64 or not len(positions) or not np.all(np.isfinite(rounded)):
        return rounded
    far = is_far(positions.min(axis=0), positions.max(axis=0))
    return positions if far and np.any(rounded != positions) else rounded
