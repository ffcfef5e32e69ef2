"""Grids whose cells are stored in Morton order: the bits of a cell's coordinates interleaved, x lowest."""

from __future__ import annotations

import numpy as np


def from_morton(cells: np.ndarray) -> np.ndarray:
    """Cells in Morton order [..., side^3] as a grid [..., side, side, side] indexed by x, y and z; `side` a power of two.

    A cell's number interleaves the bits of its coordinates, x lowest. With one axis of length 2 per bit, the change of order is a
    transposition.
    """
    lead, bits = cells.shape[:-1], _bits(cells.shape[-1])
    axes = cells.reshape(*lead, *[2] * (3 * bits))
    order = [len(lead) + 3 * bit + axis for axis in (2, 1, 0) for bit in range(bits)]
    return np.ascontiguousarray(axes.transpose(*range(len(lead)), *order)).reshape(*lead, *[1 << bits] * 3)


def to_morton(grid: np.ndarray) -> np.ndarray:
    """The inverse of `from_morton`: a grid [..., side, side, side] as cells [..., side^3] in Morton order."""
    lead, side = grid.shape[:-3], grid.shape[-1]
    bits = _bits(side**3)
    axes = grid.reshape(*lead, *[2] * (3 * bits))
    order = [len(lead) + axis * bits + bit for bit in range(bits) for axis in (2, 1, 0)]
    return np.ascontiguousarray(axes.transpose(*range(len(lead)), *order)).reshape(*lead, side**3)


def _bits(n_cells: int) -> int:
    """The binary logarithm of a grid's side, for its number of cells."""
    bits = (n_cells.bit_length() - 1) // 3
    if n_cells != 1 << 3 * bits:
        raise ValueError(f"{n_cells} cells are not a cube whose side is a power of two")
    return bits
