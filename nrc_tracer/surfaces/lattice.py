"""The lattice of a box's cells, and the function values that blocks of cells share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nrc_tracer.errors import DataError

LARGEST_LATTICE = 2**18
"""Largest number of cells along an axis, so that 64 bits can number the edges of the lattice."""


@dataclass(frozen=True)
class Lattice:
    """Corners of cells, at `lower` + i `spacing` with i from 0 to `cells` along each axis.

    Attributes:
        lower: Lower corner of the box, float64 [3].
        spacing: Size of a cell along each axis, float64 [3].
        cells: Number of cells along each axis.
    """

    lower: np.ndarray
    spacing: np.ndarray
    cells: tuple[int, int, int]

    def points(self, indices: np.ndarray) -> np.ndarray:
        """Return positions, float32 [N, 3], for indices of corners, whole or fractional, [N, 3]."""
        return (self.lower + indices * self.spacing).astype(np.float32)

    def number(self, corners: np.ndarray) -> np.ndarray:
        """Return a number, int64 [N], for each corner [N, 3]."""
        _, y, z = (n + 1 for n in self.cells)
        return (corners[:, 0] * y + corners[:, 1]) * z + corners[:, 2]

    def corners(self, numbers: np.ndarray) -> np.ndarray:
        """Return the corners, [N, 3], with these numbers, [N]: the inverse of `number`."""
        _, y, z = (n + 1 for n in self.cells)
        return np.stack((numbers // (y * z), numbers // z % y, numbers % z), axis=1)


def lattice_of(
    lower: tuple[float, float, float], upper: tuple[float, float, float], resolution: int | tuple[int, int, int]
) -> Lattice:
    """Divide a box into cells: `resolution` along its longest side, or one number for each axis.

    Raises:
        DataError: The box is empty or not finite, or the resolution is out of range.
    """
    low, high = np.asarray(lower, np.float64), np.asarray(upper, np.float64)
    if low.shape != (3,) or high.shape != (3,) or not np.all(np.isfinite([low, high])) or not np.all(low < high):
        raise DataError(
            f"the box from {point_text(lower)} to {point_text(upper)} is empty: the first must be the lower corner"
        )
    size = high - low
    if np.ndim(resolution) == 0:
        cells = np.maximum(np.round(size * (resolution / size.max())), 1).astype(np.int64)
    else:
        cells = np.asarray(resolution, np.int64)
    if cells.shape != (3,) or np.min(resolution) < 1 or cells.max() > LARGEST_LATTICE:
        raise DataError(f"resolution: must be from 1 to {LARGEST_LATTICE}, not {resolution}")
    nx, ny, nz = cells.tolist()
    return Lattice(low, size / cells, (nx, ny, nz))


def point_text(values: tuple[float, float, float] | np.ndarray) -> str:
    """Format a point for messages: `(0, 1, 0.5)`."""
    return f"({', '.join(f'{float(value):.6g}' for value in values)})"


class Walls:
    """Function values on the layers that blocks share, so that no corner is evaluated twice. NaN marks unknown values.

    Blocks are visited with z fastest and x slowest.
    """

    def __init__(self, cells: tuple[int, int, int], block: int) -> None:
        self._shapes = (cells[1] + 1, cells[2] + 1), (block + 1, cells[2] + 1)
        self._x, self._y, self._next_x, self._next_y = (
            np.full(shape, np.nan, np.float32) for shape in 2 * self._shapes
        )
        self._z: np.ndarray | None = None

    def begin(self, axis: int) -> None:
        """Move on to the next layer of blocks along x (axis 0), or the next row of blocks along y (axis 1)."""
        if axis == 0:
            self._x, self._next_x = self._next_x, np.full(self._shapes[0], np.nan, np.float32)
            self._next_y = np.full(self._shapes[1], np.nan, np.float32)
        else:
            self._y, self._next_y = self._next_y, np.full(self._shapes[1], np.nan, np.float32)
            self._z = None

    def read(self, low: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Return the known values of the block of a shape whose lowest corner is `low`."""
        known = np.full(shape, np.nan, np.float32)
        y, z = slice(low[1], low[1] + shape[1]), slice(low[2], low[2] + shape[2])
        for wall, found in ((known[0], self._x[y, z]), (known[:, 0], self._y[: shape[0], z]), (known[..., 0], self._z)):
            if found is not None:
                np.copyto(wall, found, where=np.isnan(wall))
        return known

    def write(self, low: np.ndarray, known: np.ndarray) -> None:
        """Keep the values that later blocks share with this one."""
        _, ny, nz = known.shape
        y, z = slice(low[1], low[1] + ny), slice(low[2], low[2] + nz)
        for kept, found in ((self._next_x[y, z], known[-1]), (self._next_y[: len(known), z], known[:, -1])):
            np.copyto(kept, found, where=~np.isnan(found))
        self._z = known[..., -1].copy()
