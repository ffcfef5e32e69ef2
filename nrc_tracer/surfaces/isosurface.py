"""Level sets of functions as closed triangle meshes: marching cubes, block by block.

The cells are scikit-image's, which decides ambiguous ones by T. Lewiner et al., *Efficient Implementation of Marching Cubes'
Cases with Topological Guarantees* (2003). A block never has more than its own values in memory. Blocks share the values of the
layer between them, and vertices are known by the edge of the lattice that they lie on, so that the mesh does not depend on the
size of the blocks and has no seams.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from nrc_tracer.errors import DataError
from nrc_tracer.surfaces.lattice import Lattice, Walls, lattice_of, point_text
from nrc_tracer.surfaces.surface_mesh import Isosurface, collapsed, mesh_normals, unit_rows, write_surface

__all__ = ["Isosurface", "extract", "write_surface"]

Field = Callable[[np.ndarray], np.ndarray]
"""A function of points, float32 [N, 3], with a value or a row of them for each."""

BATCH = 2**18
"""Points that a function gets at once beyond those of a block."""
BRICK = 4
"""Cells along the smallest cube that is left out where the surface is known to be far."""
LARGEST_BLOCK = 256
"""scikit-image gives positions in 32 bits: more cells would leave too few digits to tell edges by."""
LEAST, MOST = 2.0**-10, 2.0**4
"""Values that decide the shape of a cell, as multiples of the usual difference over an edge, are brought between these."""
SNAP = 1e-4
"""Vertices so near to a corner of the lattice, in edges, are moved there: they would make triangles without area."""
CENTER = 3
"""Stands for the axis of a vertex inside of a cell, where the others have 0, 1 or 2."""


def extract(
    field: Field,
    lower: tuple[float, float, float],
    upper: tuple[float, float, float],
    resolution: int | tuple[int, int, int],
    *,
    level: float = 0.0,
    gradient: Field | None = None,
    attributes: Field | None = None,
    lipschitz: float | None = None,
    closed: bool = False,
    refine: int = 0,
    block: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> Isosurface:
    """Make triangles of the surface on which a function has a value.

    The side where the function is below `level` is the inside; triangles are counter-clockwise seen from the outside. The
    mesh is closed but for where the surface leaves the box, and does not depend on `block`.

    Args:
        field: Values float32 [N] (or [N, 1]) at points float32 [N, 3]; each value is a matter of its point alone.
        lower: Lower corner of the box.
        upper: Upper corner.
        resolution: Cells along the longest side of the box, as many along the others as make them about cubes; or one number
            for each axis.
        level: Value on the surface.
        gradient: Gradients of the function, [N, 3]: normals at vertices come from them.
        attributes: Anything else to know at the vertices, such as colours, [N, K].
        lipschitz: The most that values differ per unit of length, 1 for a distance: where it follows that the surface is far,
            the function is not evaluated. The mesh can have holes where it is too small.
        closed: Take the outside of the box for the outside of the surface, and so close it there: what lies in the last layer
            of cells is cut off.
        refine: Evaluations for each vertex that bring it nearer to the surface, along its edge (regula falsi in the Illinois
            form); 0 leaves it where a linear function would have the level.
        block: Cells along the blocks in which the function is evaluated.
        progress: Called with how many blocks are done, and with their number.

    Raises:
        DataError: There is no surface in the box (the message has the range of values), the function gives values that are
            not finite or of another shape, a number is out of range, or scikit-image is missing.
    """
    lattice = lattice_of(lower, upper, resolution)
    for name, value, low in (("refine", refine, 0), ("block", block, 1)):
        if value < low:
            raise DataError(f"{name}: must be at least {low}, not {value}")
    if lipschitz is not None and not 0.0 < lipschitz < np.inf:
        raise DataError(f"lipschitz: must be above 0 and finite, not {lipschitz}")
    block = min(-(-block // BRICK) * BRICK, LARGEST_BLOCK)
    values = _Values(field, level)
    far = None if lipschitz is None else _far_bricks(values, lattice, lipschitz)
    usual = _usual_difference(values, lattice) if lipschitz is None else lipschitz * float(lattice.spacing.max())

    crossings = _crossings(values, lattice, far, block, usual, closed, progress)
    parts = list(crossings)
    if not parts:
        raise DataError(
            f"no surface: nowhere in the box {point_text(lower)} to {point_text(upper)} has the function the value {level:g}; "
            f"at {values.count:,} points it lies between {values.low + level:g} and {values.high + level:g}"
        )
    merged = _merge(parts)
    del parts
    positions, triangles = _positions(merged, lattice, values, refine), merged.triangles
    positions, triangles = collapsed(positions, triangles)
    surface = Isosurface(positions, triangles, evaluations=values.count)
    if gradient is not None:
        surface = replace(surface, normals=_normals(gradient, surface))
    if attributes is not None:
        surface = replace(surface, attributes=_in_batches(attributes, positions, "attributes"))
    return surface


class _Values:
    """The function less its level; counts its points and knows the range of its values."""

    def __init__(self, field: Field, level: float) -> None:
        self._field, self._level = field, np.float32(level)
        self.low, self.high, self.count = np.inf, -np.inf, 0

    def __call__(self, points: np.ndarray) -> np.ndarray:
        values = np.asarray(self._field(points), np.float32)
        if values.shape not in ((len(points),), (len(points), 1)):
            raise DataError(
                f"the function gave values of shape {list(values.shape)} for points of shape {list(points.shape)}"
            )
        values = values.reshape(-1) - self._level
        if len(values):
            low, high = float(values.min()), float(values.max())
            if not (np.isfinite(low) and np.isfinite(high)):
                at = points[np.argmin(np.isfinite(values))]
                raise DataError(f"the function is not finite at {point_text(at)}")
            self.low, self.high = min(self.low, low), max(self.high, high)
        self.count += len(points)
        return values


def _usual_difference(values: _Values, lattice: Lattice) -> float:
    """The mean difference over an edge, from a few samples."""
    steps = [np.unique(np.linspace(0, n, 9).astype(np.int64)) for n in lattice.cells]
    corners = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1)
    sampled = values(lattice.points(corners.reshape(-1, 3))).reshape(corners.shape[:3]).astype(np.float64)
    slopes = []
    for axis in range(3):
        gaps = np.diff(steps[axis]).reshape([-1 if i == axis else 1 for i in range(3)])
        slopes.append(float(np.mean(np.abs(np.diff(sampled, axis=axis)) / gaps)))
    return max(slopes) or float(np.abs(sampled).max()) or 1.0


def _far_bricks(values: _Values, lattice: Lattice, lipschitz: float) -> np.ndarray:
    """For each cube of `BRICK` cells, int8: 0 where the surface may be, else the sign of the function.

    Begins with cubes of 4^3 times as many cells along a side, and divides those that may have the surface.
    """
    cells = np.array(lattice.cells)
    size = BRICK**3
    state = np.zeros(-(-cells // size), np.int8)
    while True:
        near = np.argwhere(state == 0)
        for first in range(0, len(near), BATCH):
            bricks = near[first : first + BATCH]
            low, high = bricks * size, np.minimum((bricks + 1) * size, cells)
            center = values(lattice.points(0.5 * (low + high)))
            reach = 0.5 * lipschitz * np.linalg.norm((high - low) * lattice.spacing, axis=1)
            # A little more, as positions are rounded
            state[tuple(bricks.T)] = np.where(np.abs(center) > 1.001 * reach, np.sign(center), 0)
        if size == BRICK:
            return state
        size //= 4
        finer = -(-cells // size)
        state = state.repeat(4, 0).repeat(4, 1).repeat(4, 2)[: finer[0], : finer[1], : finer[2]]


@dataclass(frozen=True)
class _Crossings:
    """Where a block's edges cross the level.

    Attributes:
        keys: int64 [N]: four times the number of the corner where the edge begins, plus the axis.
        ends: Values at both ends, float32 [N, 2].
        triangles: Of these, int64 [T, 3].
    """

    keys: np.ndarray
    ends: np.ndarray
    triangles: np.ndarray


def _crossings(values, lattice, far, block, usual, closed, progress) -> Iterator[_Crossings]:
    """The crossings of every block that has some."""
    counts = [-(-n // block) for n in lattice.cells]
    walls, cells = Walls(lattice.cells, block), np.array(lattice.cells)
    for number, at in enumerate(np.ndindex(*counts)):
        for axis in (0, 1):
            if not any(at[axis + 1 :]):
                walls.begin(axis)
        low = np.array(at) * block
        high = np.minimum(low + block, cells)
        shape = tuple((high - low + 1).tolist())
        known = walls.read(low, shape)
        signs = (
            None
            if far is None
            else far[tuple(slice(a // BRICK, -(-b // BRICK)) for a, b in zip(low, high, strict=True))]
        )
        wanted = np.isnan(known) if signs is None else np.isnan(known) & _needed(signs, shape)
        if np.any(wanted):
            known[wanted] = values(lattice.points(low + np.argwhere(wanted)))
        walls.write(low, known)
        # A block far from the surface has none, but where its inside reaches a border that is closed
        if signs is None or not np.all(signs) or (closed and np.any(signs < 0)):
            found = _march(_filled(known, signs, low, cells, closed), low, lattice, usual)
            if found is not None:
                yield found
        if progress is not None:
            progress(number + 1, int(np.prod(counts)))


def _needed(signs: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The corners of a block, bool of that shape, that belong to a cell where the surface may be."""
    needed = np.zeros(shape, bool)
    cells = signs == 0
    for axis in range(3):
        cells = cells.repeat(BRICK, axis)
    cells = cells[: shape[0] - 1, : shape[1] - 1, : shape[2] - 1]
    for offset in np.ndindex(2, 2, 2):
        needed[tuple(slice(o, o + n) for o, n in zip(offset, cells.shape, strict=True))] |= cells
    return needed


def _filled(
    known: np.ndarray, signs: np.ndarray | None, low: np.ndarray, cells: np.ndarray, closed: bool
) -> np.ndarray:
    """All values of a block: far from the surface only their sign is right, and on the border that is closed."""
    result = known
    if signs is not None:
        bricks = [
            np.minimum(np.arange(n) // BRICK, count - 1) for n, count in zip(known.shape, signs.shape, strict=True)
        ]
        result = np.where(np.isnan(known), signs[np.ix_(*bricks)].astype(np.float32), known)
    if closed:
        result = result.copy()
        for axis in range(3):
            wall = np.moveaxis(result, axis, 0)
            for end, at_border in ((0, low[axis] == 0), (-1, low[axis] + known.shape[axis] - 1 == cells[axis])):
                if at_border:
                    np.maximum(wall[end], 0.0, out=wall[end])
    return result


def _march(values: np.ndarray, low: np.ndarray, lattice: Lattice, usual: float) -> _Crossings | None:
    """Marching cubes in one block, its vertices known by their edges; None where there are none."""
    inside = values < 0.0
    if not np.any(inside) or np.all(inside):
        return None
    # No vertex comes so near to a corner that its edge could not be told; the true values give the positions
    magnitude = np.clip(np.abs(values), LEAST * usual, MOST * usual)
    places, triangles, _, _ = _marching_cubes()(np.where(inside, -magnitude, magnitude), 0.0)
    begin = np.floor(places)
    between = places != begin
    axis = np.where(between.sum(axis=1) == 1, np.argmax(between, axis=1), CENTER)
    begin = begin.astype(np.int64)
    end = begin.copy()
    on_edge = axis != CENTER
    end[on_edge, axis[on_edge]] += 1
    ends = np.stack((values[tuple(begin.T)], values[tuple(end.T)]), axis=1)
    return _Crossings(4 * lattice.number(begin + low) + axis, ends, triangles.astype(np.int64))


def _marching_cubes() -> Callable:
    try:
        from skimage.measure import marching_cubes
    except ImportError as error:
        raise DataError("marching cubes needs scikit-image: pip install 'nrc-tracer[tasks]'") from error
    return marching_cubes


def _merge(parts: list[_Crossings]) -> _Crossings:
    """The crossings of all blocks, each once, and their triangles, int32 [T, 3], in an order that blocks do not change."""
    offsets = np.cumsum([0, *(len(part.keys) for part in parts)])
    keys, first, places = np.unique(
        np.concatenate([part.keys for part in parts]), return_index=True, return_inverse=True
    )
    if len(keys) >= 2**31:
        raise DataError(f"{len(keys):,} vertices are more than 32 bits can count: ask for a lower resolution")
    ends = np.concatenate([part.ends for part in parts])[first]
    places = places.astype(np.int32)
    triangles = np.concatenate([places[part.triangles + o] for part, o in zip(parts, offsets[:-1], strict=True)])
    # The lowest corner first, then by it and the next: no two triangles share a directed edge
    turn = np.argmin(triangles, axis=1)
    triangles = np.take_along_axis(triangles, (turn[:, None] + np.arange(3)) % 3, axis=1)
    order = np.argsort(triangles[:, 0].astype(np.int64) << 32 | triangles[:, 1], kind="stable")
    return _Crossings(keys, ends, triangles[order])


def _positions(merged: _Crossings, lattice: Lattice, values: _Values, refine: int) -> np.ndarray:
    """Vertices, float32 [V, 3]: on edges where the level is, inside of cells in the middle of their neighbours."""
    axis = merged.keys % 4
    places = lattice.corners(merged.keys // 4).astype(np.float64)
    rows = np.flatnonzero(axis != CENTER)
    for first in range(0, len(rows), BATCH):
        chosen = rows[first : first + BATCH]
        begin, along = places[chosen], axis[chosen]

        def at(t: np.ndarray, begin: np.ndarray = begin, along: np.ndarray = along) -> np.ndarray:
            place = begin.copy()
            place[np.arange(len(t)), along] += t
            return place

        t = _roots(lambda t, at=at: values(lattice.points(at(t))), merged.ends[chosen].astype(np.float64), refine)
        places[chosen] = at(np.where(t < SNAP, 0.0, np.where(t > 1.0 - SNAP, 1.0, t)))
    if len(rows) < len(axis):
        inner = axis == CENTER
        sums, counts = np.zeros((len(axis), 3)), np.zeros(len(axis))
        corners = merged.triangles[np.any(inner[merged.triangles], axis=1)]
        for i in range(3):
            for other in (1, 2):
                neighbour = corners[:, (i + other) % 3]
                np.add.at(sums, corners[:, i], places[neighbour])
                np.add.at(counts, corners[:, i], 1.0)
        places[inner] = sums[inner] / counts[inner, None]
    return lattice.points(places)


def _roots(value: Callable[[np.ndarray], np.ndarray], ends: np.ndarray, steps: int) -> np.ndarray:
    """Where on [0, 1] functions with these values at both ends, of opposite sides, are 0: regula falsi, Illinois form."""
    low, high = np.zeros(len(ends)), np.ones(len(ends))
    at_low, at_high = ends.T.copy()
    t = at_low / (at_low - at_high)
    free = (at_low != 0.0) & (at_high != 0.0)
    moved_low, moved_high = np.zeros(len(ends), bool), np.zeros(len(ends), bool)
    for _ in range(steps):
        found = value(t)
        free &= found != 0.0
        like_low = (found < 0.0) == (at_low < 0.0)
        like_high = ~like_low
        # An end that stays twice counts half, or it would stay for ever
        at_high = np.where(like_low & moved_low, 0.5 * at_high, at_high)
        at_low = np.where(like_high & moved_high, 0.5 * at_low, at_low)
        low, at_low = np.where(like_low, t, low), np.where(like_low, found, at_low)
        high, at_high = np.where(like_high, t, high), np.where(like_high, found, at_high)
        moved_low, moved_high = like_low, like_high
        t[free] = (low + (high - low) * at_low / np.where(free, at_low - at_high, 1.0))[free]
    return t


def _normals(gradient: Field, surface: Isosurface) -> np.ndarray:
    """Unit gradients at the vertices; where there is none, the mean of the triangles around."""
    normals = unit_rows(_in_batches(gradient, surface.positions, "gradient", columns=3))
    lost = ~np.any(normals, axis=1)
    if np.any(lost):
        normals[lost] = mesh_normals(surface.positions, surface.indices)[lost]
    return normals


def _in_batches(function: Field, points: np.ndarray, name: str, columns: int | None = None) -> np.ndarray:
    """What a function gives for many points, float32 [N, K]."""
    parts = []
    for first in range(0, len(points), BATCH):
        rows = np.asarray(function(points[first : first + BATCH]), np.float32)
        count = min(BATCH, len(points) - first)
        if rows.ndim != 2 or len(rows) != count or columns not in (None, rows.shape[1]):
            wanted = "K" if columns is None else columns
            raise DataError(f"{name}: gave shape {list(rows.shape)} for {count} points, not [{count}, {wanted}]")
        parts.append(rows)
    return np.concatenate(parts)
