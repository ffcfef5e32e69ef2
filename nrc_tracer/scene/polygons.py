"""Polygons of mesh files as triangles.

A polygon becomes a fan around its first corner, unless a triangle of the fan would be reversed. Then the polygon is not convex,
and its ears are clipped (G. H. Meisters, *Polygons Have Ears*, 1975; D. Eberly, *Triangulation by Ear Clipping*, 2002).
"""

from __future__ import annotations

from collections import deque

import numpy as np

from nrc_tracer.errors import SceneError

REVERSED = -1e-6
"""Area of a fan's triangle, as a fraction of its polygon's area, below which the triangle counts as reversed."""
MAX_CORNERS = 1 << 13
"""Largest accepted number of corners of a polygon that is not a fan; the time to divide it grows with the number's square."""

POINT_CLOUD = "It is a point cloud, which has no surface; reconstruct a mesh from it first, for example with MeshLab"
"""End of the message about a file with vertices and no faces."""


def triangulate(sizes: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Divide polygons into triangles.

    Args:
        sizes: Number of corners of each polygon. The corners are stored polygon by polygon.
        positions: Position of each corner, shape [corner_count, 3].

    Returns:
        Triangles as indices of corners, shape [triangle_count, 3], polygon by polygon. A polygon of n corners has n - 2, some
        perhaps without area; one with fewer than three corners has none.

    Raises:
        SceneError: A polygon that is not a fan has more than `MAX_CORNERS` corners.
    """
    per_polygon = np.maximum(sizes - 2, 0)
    offsets = np.cumsum(sizes) - sizes
    first_triangles = np.cumsum(per_polygon) - per_polygon
    polygon = np.repeat(np.arange(len(sizes)), per_polygon)
    first = offsets[polygon]
    within = np.arange(len(first)) - first_triangles[polygon]
    triangles = np.column_stack((first, first + within + 1, first + within + 2))
    if not np.any(sizes > 3):
        return triangles
    # Find the fans with a triangle that is reversed with respect to the whole polygon
    large = np.flatnonzero(sizes[polygon] > 3)
    points = positions[triangles[large]].astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # a polygon whose area overflows stays a fan
        normals = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
        totals = np.column_stack([np.bincount(polygon[large], normals[:, axis], len(sizes)) for axis in range(3)])
        area = np.einsum("ij,ij->i", normals, totals[polygon[large]])
        squared = np.einsum("ij,ij->i", totals, totals)
    for index in np.unique(polygon[large][area < REVERSED * squared[polygon[large]]]).tolist():
        begin, size = int(offsets[index]), int(sizes[index])
        if size > MAX_CORNERS:
            raise SceneError(f"a polygon that is not convex has {size} corners; divide it into triangles")
        corners = clip_ears(_flat(positions[begin : begin + size], totals[index]))
        triangles[first_triangles[index] : first_triangles[index] + size - 2] = begin + corners
    return triangles


def clip_ears(points: np.ndarray) -> np.ndarray:
    """Divide a simple polygon in the plane into triangles.

    Where the polygon intersects itself and no ear is left, any corner is cut off.

    Args:
        points: Corners in counter-clockwise order, shape [n, 2]. Some may coincide, as where a hole is joined to the outline.

    Returns:
        Triangles as indices of corners, counter-clockwise, shape [n - 2, 3].
    """
    count = len(points)
    after = [*range(1, count), 0]
    before = [count - 1, *range(count - 1)]
    x, y = points.T.tolist()

    def turn(corner: int) -> float:
        a, b = before[corner], after[corner]
        return (x[corner] - x[a]) * (y[b] - y[a]) - (y[corner] - y[a]) * (x[b] - x[a])

    reflex = [turn(corner) <= 0.0 for corner in range(count)]

    # Only reflex corners can lie in an ear; the coordinates of all others are NaN, for which comparisons are false
    block_x, block_y = np.where(reflex, points.T, np.nan)

    def is_ear(corner: int) -> bool:
        if reflex[corner]:
            return False
        corners = (before[corner], corner, after[corner])
        xs, ys = [x[c] for c in corners], [y[c] for c in corners]
        near = (block_x >= min(xs)) & (block_x <= max(xs)) & (block_y >= min(ys)) & (block_y <= max(ys))
        return not any(_blocks(x[other], y[other], xs, ys) for other in np.flatnonzero(near).tolist())

    triangles: list[tuple[int, int, int]] = []
    ears = deque(corner for corner in range(count) if is_ear(corner))
    left = [True] * count
    current = 0
    while len(triangles) < count - 2:
        while ears and not (left[ears[0]] and is_ear(ears[0])):
            ears.popleft()
        corner = ears.popleft() if ears else current
        a, b = before[corner], after[corner]
        triangles.append((a, corner, b))
        left[corner] = False
        block_x[corner] = np.nan
        after[a], before[b] = b, a
        current = b
        # Only the neighbours can have become ears
        for neighbour in (a, b):
            reflex[neighbour] = turn(neighbour) <= 0.0
            block_x[neighbour] = x[neighbour] if reflex[neighbour] else np.nan
        ears.extend(neighbour for neighbour in (a, b) if is_ear(neighbour))
    return np.array(triangles, dtype=np.int64)


def _blocks(x: float, y: float, xs: list[float], ys: list[float]) -> bool:
    """Return whether a point lies in a counter-clockwise triangle or on its boundary, but not at one of its corners."""
    for k in range(3):
        to_x, to_y = x - xs[k - 1], y - ys[k - 1]
        if (to_x == 0.0 and to_y == 0.0) or (xs[k] - xs[k - 1]) * to_y < (ys[k] - ys[k - 1]) * to_x:
            return False
    return True


def _flat(positions: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Drop the axis along which the polygon's normal is largest, and order the others so that it is counter-clockwise."""
    axis = int(np.argmax(np.abs(normal)))
    columns = [(axis + 1) % 3, (axis + 2) % 3]
    return np.asarray(positions, np.float64)[:, columns if normal[axis] > 0.0 else columns[::-1]]
