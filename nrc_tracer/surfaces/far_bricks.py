"""Parts of a lattice that are known to be far from a surface, and are skipped when it is triangulated.

A function whose slope is bounded has no zero in a cube at whose centre it is large. A bound may be wrong, for example at the
openings of a mesh whose inside is told by the winding number: the fitted distance jumps there. So the surface that is found is
followed: where it would enter a skipped cube, that cube is evaluated after all. Then all cells agree about the signs at their
corners, and the surface has no holes, whatever the function is. With a wrong bound, separate parts of it can be missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np

from nrc_tracer.surfaces.lattice import Lattice

BRICK = 4
"""Side of the smallest cube that is skipped where the surface is known to be far away [cells]."""
BATCH = 2**18
"""Largest number of points in one call of a function."""

Values = Callable[[np.ndarray], np.ndarray]
"""A function of points, float32 [N, 3], whose zeros are the surface: float32 [N], negative inside."""


@dataclass(frozen=True)
class FarBricks:
    """Which cubes of BRICK cells along a side are far from the surface.

    Attributes:
        signs: For each cube, int8: 0 where the surface may be, else the sign of the function.
        numbers: Numbers of corners of the lattice whose values are known already, sorted, int64 [K].
        values: Their values, float32 [K].
    """

    signs: np.ndarray
    numbers: np.ndarray
    values: np.ndarray

    def known(self, numbers: np.ndarray) -> np.ndarray:
        """The values of corners with these numbers, float32 [N]; NaN for those that are not known."""
        if not len(self.numbers):
            return np.full(len(numbers), np.nan, np.float32)
        places = np.minimum(np.searchsorted(self.numbers, numbers), len(self.numbers) - 1)
        return np.where(self.numbers[places] == numbers, self.values[places], np.float32(np.nan))


def far_bricks(values: Values, lattice: Lattice, lipschitz: float) -> FarBricks:
    """Find the cubes that the surface does not enter, if the slope of the function is at most `lipschitz`.

    Starts with cubes of BRICK^3 cells along a side, and subdivides those that may contain the surface.
    """
    cells = np.array(lattice.cells)
    size = BRICK**3
    signs = np.zeros(-(-cells // size), np.int8)
    while True:
        near = np.argwhere(signs == 0)
        for first in range(0, len(near), BATCH):
            bricks = near[first : first + BATCH]
            low, high = bricks * size, np.minimum((bricks + 1) * size, cells)
            center = values(lattice.points(0.5 * (low + high)))
            reach = 0.5 * lipschitz * np.linalg.norm((high - low) * lattice.spacing, axis=1)
            # The factor allows for the rounding of positions
            signs[tuple(bricks.T)] = np.where(np.abs(center) > 1.001 * reach, np.sign(center), 0)
        if size == BRICK:
            return _followed(values, lattice, signs)
        size //= 4
        finer = -(-cells // size)
        signs = signs.repeat(4, 0).repeat(4, 1).repeat(4, 2)[: finer[0], : finer[1], : finer[2]]


def _followed(values: Values, lattice: Lattice, signs: np.ndarray) -> FarBricks:
    """Take back the cubes that the surface of the others enters, until there are none."""
    signs[((signs > 0) & _grown(signs < 0)) | ((signs < 0) & _grown(signs > 0))] = 0
    found = FarBricks(signs, np.zeros(0, np.int64), np.zeros(0, np.float32))
    fresh = signs == 0
    while np.any(fresh):
        bricks, corners = _shared_corners(signs, fresh, lattice)
        numbers = lattice.number(corners)
        found = _with_values(found, np.unique(numbers), values, lattice)
        # The sign that marching cubes sees at the corner
        wrong = (found.known(numbers) < 0.0) != (signs[tuple(bricks.T)] < 0)
        fresh = np.zeros(signs.shape, bool)
        fresh[tuple(bricks[wrong].T)] = True
        signs[fresh] = 0
    return found


def _with_values(found: FarBricks, numbers: np.ndarray, values: Values, lattice: Lattice) -> FarBricks:
    """Evaluate the corners with these numbers that are not known yet."""
    missing = numbers[np.isnan(found.known(numbers))]
    parts = [missing[first : first + BATCH] for first in range(0, len(missing), BATCH)]
    fresh = [values(lattice.points(lattice.corners(part))) for part in parts]
    merged = np.concatenate([found.numbers, missing])
    order = np.argsort(merged)
    return FarBricks(found.signs, merged[order], np.concatenate([found.values, *fresh])[order])


def _shared_corners(signs: np.ndarray, fresh: np.ndarray, lattice: Lattice) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of a far cube and a corner that it shares with a fresh one, int64 [N, 3] each."""
    far = signs != 0
    cells = np.array(lattice.cells)
    whole = np.arange(BRICK + 1)
    bricks, corners = [], []
    for step in product((-1, 0, 1), repeat=3):
        here = tuple(slice(max(-s, 0), n - max(s, 0)) for s, n in zip(step, far.shape, strict=True))
        there = tuple(slice(max(s, 0), n + min(s, 0)) for s, n in zip(step, far.shape, strict=True))
        at = np.argwhere(far[here] & fresh[there]) + [part.start for part in here]
        if not any(step) or not len(at):
            continue
        sides = [whole if s == 0 else np.array([BRICK if s > 0 else 0]) for s in step]
        offsets = np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, 3)
        shared = (at[:, None] * BRICK + offsets).reshape(-1, 3)
        inside = np.all(shared <= cells, axis=1)  # the last cubes are cut off by the border of the lattice
        bricks.append(at.repeat(len(offsets), axis=0)[inside])
        corners.append(shared[inside])
    if not bricks:
        return np.zeros((0, 3), np.int64), np.zeros((0, 3), np.int64)
    return np.concatenate(bricks), np.concatenate(corners)


def _grown(mask: np.ndarray) -> np.ndarray:
    """A mask with all neighbours of its elements, those across edges and corners too."""
    for axis in range(mask.ndim):
        grown, lines = mask.copy(), np.moveaxis(mask, axis, 0)
        moved = np.moveaxis(grown, axis, 0)
        moved[1:] |= lines[:-1]
        moved[:-1] |= lines[1:]
        mask = grown
    return mask
