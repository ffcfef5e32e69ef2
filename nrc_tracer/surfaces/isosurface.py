"""Isosurfaces of functions as closed triangle meshes, by marching cubes in blocks.

The triangles of a cell are those of scikit-image, which resolves ambiguous cells by T. Lewiner et al., *Efficient Implementation
of Marching Cubes' Cases with Topological Guarantees* (2003). Only the values of one block are in memory at a time. Blocks share
the values of the layers between them, and vertices are identified by the edge of the lattice on which they lie. So the mesh has
no seams, and does not depend on the size of the blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from nrc_tracer.errors import DataError
from nrc_tracer.surfaces.far_bricks import BATCH, BRICK, FarBricks, far_bricks
from nrc_tracer.surfaces.lattice import Lattice, Walls, lattice_of, point_text
from nrc_tracer.surfaces.surface_mesh import Isosurface, collapsed, mesh_normals, unit_rows, write_surface

__all__ = ["Isosurface", "extract", "write_surface"]

Field = Callable[[np.ndarray], np.ndarray]
"""A function of points, float32 [N, 3], that returns a value or a row of values for each."""

LARGEST_BLOCK = 256
"""Largest side of a block [cells]. scikit-image's 32-bit positions would not resolve the edges of larger blocks."""
LEAST, MOST = 2.0**-10, 2.0**4
"""Range to which the magnitudes that determine a cell's triangles are clipped, in typical differences along an edge."""
SNAP = 1e-4
"""Distance from a corner of the lattice below which a vertex is moved there, in edges: it would make triangles without area."""
CENTER = 3
"""Number in place of an axis (0, 1 or 2) for a vertex that lies inside a cell, not on an edge."""


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
    """Triangulate the isosurface of a function at a level.

    The inside is where the function is below `level`; triangles are counter-clockwise seen from the outside. The mesh is closed
    except where the surface leaves the box, and does not depend on `block`.

    Args:
        field: Returns values, float32 [N] or [N, 1], at points, float32 [N, 3]. A value must not depend on the other points.
        lower: Lower corner of the box.
        upper: Upper corner of the box.
        resolution: Number of cells along the longest side of the box, with cells that are nearly cubes; or one number for each
            axis.
        level: Value of the function on the surface.
        gradient: Returns gradients of the function, [N, 3], from which vertex normals are made.
        attributes: Returns other values at the vertices, such as colours, [N, K].
        lipschitz: Lipschitz constant of the function, 1 for a distance. The function is not evaluated where this bound shows
            that the surface is far away. If the constant is too small, separate parts of the surface can be missing, but what
            is found is followed and has no holes.
        closed: Close the surface where it leaves the box, by treating the outside of the box as outside. What lies in the
            outermost layer of cells is cut off.
        refine: Number of evaluations per vertex that move it along its edge towards the surface (regula falsi, Illinois
            variant). With 0 the vertex stays where linear interpolation puts it.
        block: Side of the blocks in which the function is evaluated [cells].
        progress: Called with the number of finished blocks and the number of all blocks.

    Raises:
        DataError: There is no surface in the box (the message has the range of values), the function returns values that are
            not finite or of another shape, a number is out of range, or scikit-image is not installed.
    """
    lattice = lattice_of(lower, upper, resolution)
    for name, value, low in (("refine", refine, 0), ("block", block, 1)):
        if value < low:
            raise DataError(f"{name}: must be at least {low}, not {value}")
    if lipschitz is not None and not 0.0 < lipschitz < np.inf:
        raise DataError(f"lipschitz: must be above 0 and finite, not {lipschitz}")
    block = min(-(-block // BRICK) * BRICK, LARGEST_BLOCK)
    values = _Values(field, level)
    far = None if lipschitz is None else far_bricks(values, lattice, lipschitz)
    usual = _usual_difference(values, lattice) if lipschitz is None else lipschitz * float(lattice.spacing.max())

    parts = list(_crossings(values, lattice, far, block, usual, closed, progress))
    if not parts and far is not None:
        # The bound may be wrong: say that there is no surface only after looking everywhere
        usual = _usual_difference(values, lattice)
        parts = list(_crossings(values, lattice, None, block, usual, closed, progress))
    if not parts:
        raise DataError(
            f"no surface: the function has the value {level:g} nowhere in the box {point_text(lower)} to {point_text(upper)}; "
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
    """The function minus its level, with the range of its values and the number of points evaluated."""

    def __init__(self, field: Field, level: float) -> None:
        self._field, self._level = field, np.float32(level)
        self.low, self.high, self.count = np.inf, -np.inf, 0

    def __call__(self, points: np.ndarray) -> np.ndarray:
        values = np.asarray(self._field(points), np.float32)
        if values.shape not in ((len(points),), (len(points), 1)):
            raise DataError(
                f"the function returned values of shape {list(values.shape)} for points of shape {list(points.shape)}"
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
    """Estimate the mean difference along an edge from a few samples."""
    steps = [np.unique(np.linspace(0, n, 9).astype(np.int64)) for n in lattice.cells]
    corners = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1)
    sampled = values(lattice.points(corners.reshape(-1, 3))).reshape(corners.shape[:3]).astype(np.float64)
    slopes = []
    for axis in range(3):
        gaps = np.diff(steps[axis]).reshape([-1 if i == axis else 1 for i in range(3)])
        slopes.append(float(np.mean(np.abs(np.diff(sampled, axis=axis)) / gaps)))
    return max(slopes) or float(np.abs(sampled).max()) or 1.0


@dataclass(frozen=True)
class _Crossings:
    """Edges of a block that cross the level, and the triangles between the crossings.

    Attributes:
        keys: Four times the number of the corner where the edge begins, plus the axis of the edge, int64 [N].
        ends: Values at both ends of the edge, float32 [N, 2].
        triangles: Triangles as indices of crossings, int64 [T, 3].
    """

    keys: np.ndarray
    ends: np.ndarray
    triangles: np.ndarray


def _crossings(
    values: _Values,
    lattice: Lattice,
    far: FarBricks | None,
    block: int,
    usual: float,
    closed: bool,
    progress: Callable[[int, int], None] | None,
) -> Iterator[_Crossings]:
    """Yield the crossings of every block that has any."""
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
            else far.signs[tuple(slice(a // BRICK, -(-b // BRICK)) for a, b in zip(low, high, strict=True))]
        )
        wanted = np.isnan(known) if signs is None else np.isnan(known) & _needed(signs, shape)
        if np.any(wanted):
            known[wanted] = _evaluated(values, lattice, far, low + np.argwhere(wanted))
        walls.write(low, known)
        # A block far from the surface has no crossings, unless it is inside and reaches a border that is closed
        if signs is None or not np.all(signs) or (closed and np.any(signs < 0)):
            found = _march(_filled(known, signs, low, cells, closed), low, lattice, usual)
            if found is not None:
                yield found
        if progress is not None:
            progress(number + 1, int(np.prod(counts)))


def _evaluated(values: _Values, lattice: Lattice, far: FarBricks | None, corners: np.ndarray) -> np.ndarray:
    """Values at corners, float32 [N]; the function is not evaluated where they are known."""
    if far is None:
        return values(lattice.points(corners))
    found = far.known(lattice.number(corners))
    missing = np.isnan(found)
    if np.any(missing):
        found[missing] = values(lattice.points(corners[missing]))
    return found


def _needed(signs: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return which corners of a block belong to a cell where the surface may be, bool of that shape."""
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
    """Return all values of a block. Far from the surface and on a closed border only their signs are right."""
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
    """Run marching cubes in one block and identify vertices by their edges; None if there are no vertices."""
    inside = values < 0.0
    if not np.any(inside) or np.all(inside):
        return None
    # Clip values so that no vertex is too close to a corner to identify its edge; `_positions` uses the unclipped values
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


def _marching_cubes() -> Callable[..., tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    try:
        from skimage.measure import marching_cubes
    except ImportError as error:
        raise DataError("marching cubes needs scikit-image: pip install 'nrc-tracer[tasks]'") from error
    return marching_cubes


def _merge(parts: list[_Crossings]) -> _Crossings:
    """Merge the crossings of all blocks, each once; triangles, int32 [T, 3], in an order that does not depend on the blocks."""
    offsets = np.cumsum([0, *(len(part.keys) for part in parts)])
    keys, first, places = np.unique(
        np.concatenate([part.keys for part in parts]), return_index=True, return_inverse=True
    )
    if len(keys) >= 2**31:
        raise DataError(f"{len(keys):,} vertices are more than 32 bits can count: ask for a lower resolution")
    ends = np.concatenate([part.ends for part in parts])[first]
    places = places.astype(np.int32)
    triangles = np.concatenate([places[part.triangles + o] for part, o in zip(parts, offsets[:-1], strict=True)])
    # Rotate each triangle to start at its lowest vertex, then sort by its first edge: no two triangles share a directed edge
    turn = np.argmin(triangles, axis=1)
    triangles = np.take_along_axis(triangles, (turn[:, None] + np.arange(3)) % 3, axis=1)
    order = np.argsort(triangles[:, 0].astype(np.int64) << 32 | triangles[:, 1], kind="stable")
    return _Crossings(keys, ends, triangles[order])


def _positions(merged: _Crossings, lattice: Lattice, values: _Values, refine: int) -> np.ndarray:
    """Return vertices, float32 [V, 3]: on edges at the level, inside cells at the mean of their neighbours."""
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

        def value(t: np.ndarray, at: Callable[[np.ndarray], np.ndarray] = at) -> np.ndarray:
            return values(lattice.points(at(t)))

        t = _roots(value, merged.ends[chosen].astype(np.float64), refine)
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
    """Find the roots on [0, 1] of functions with these values at both ends, of opposite signs: regula falsi, Illinois variant."""
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
        # Halve the value of an end that stays twice, or it might never move
        at_high = np.where(like_low & moved_low, 0.5 * at_high, at_high)
        at_low = np.where(like_high & moved_high, 0.5 * at_low, at_low)
        low, at_low = np.where(like_low, t, low), np.where(like_low, found, at_low)
        high, at_high = np.where(like_high, t, high), np.where(like_high, found, at_high)
        moved_low, moved_high = like_low, like_high
        t[free] = (low + (high - low) * at_low / np.where(free, at_low - at_high, 1.0))[free]
    return t


def _normals(gradient: Field, surface: Isosurface) -> np.ndarray:
    """Return unit gradients at the vertices; where the gradient is 0, the mean normal of the adjacent triangles."""
    normals = unit_rows(_in_batches(gradient, surface.positions, "gradient", columns=3))
    lost = ~np.any(normals, axis=1)
    if np.any(lost):
        normals[lost] = mesh_normals(surface.positions, surface.indices)[lost]
    return normals


def _in_batches(function: Field, points: np.ndarray, name: str, columns: int | None = None) -> np.ndarray:
    """Evaluate a function at many points, float32 [N, K]."""
    parts = []
    for first in range(0, len(points), BATCH):
        rows = np.asarray(function(points[first : first + BATCH]), np.float32)
        count = min(BATCH, len(points) - first)
        if rows.ndim != 2 or len(rows) != count or columns not in (None, rows.shape[1]):
            wanted = "K" if columns is None else columns
            raise DataError(f"{name}: returned shape {list(rows.shape)} for {count} points, not [{count}, {wanted}]")
        parts.append(rows)
    return np.concatenate(parts)
