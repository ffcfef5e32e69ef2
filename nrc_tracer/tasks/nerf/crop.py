"""Cropping a radiance field: the cells of its occupancy grid that lie in a box."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nrc_tracer.tasks.nerf.occupancy import OccupancyGrid
from nrc_tracer.tasks.nerf.space import CELLS, RESOLUTION

BITS = RESOLUTION.bit_length() - 1
"""Bits of a cell's position along each axis."""


def cropped_words(grid: OccupancyGrid, low: Sequence[float], high: Sequence[float]) -> Tensor:
    """Bits of the cells whose middle lies in a box, int32, in the order of `OccupancyGrid.words`.

    Args:
        grid: The grid.
        low, high: Corners of the box in unit-cube space.
    """
    middles = (np.arange(RESOLUTION) + 0.5) / RESOLUTION - 0.5
    words = []
    for cascade in range(grid.space.cascades):
        places = 0.5 + middles * 2.0**cascade
        inside = np.zeros(CELLS, bool)
        inside[_cells(*(np.flatnonzero((places >= a) & (places <= b)) for a, b in zip(low, high, strict=True)))] = True
        words.append(np.packbits(inside, bitorder="little").view(np.int32))
    return torch.from_numpy(np.concatenate(words)).to(grid.words.device)


def _cells(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Numbers of all cells of a cascade with these positions: Morton order, x lowest."""
    spread_x, spread_y, spread_z = (_spread(values) << shift for shift, values in enumerate((x, y, z)))
    return (spread_x[:, None, None] | spread_y[:, None] | spread_z).ravel()


def _spread(values: np.ndarray) -> np.ndarray:
    """The bits of numbers, each followed by two zeros."""
    return np.bitwise_or.reduce([((values >> bit) & 1) << (3 * bit) for bit in range(BITS)], axis=0)
