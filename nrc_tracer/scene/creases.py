"""Shading normals of a mesh that has none, smooth except at creases."""

from __future__ import annotations

import numpy as np

from nrc_tracer.scene.geometry import smooth_normals
from nrc_tracer.scene.model import TriangleMesh

CREASE = 30.0
"""Angle between two triangles above which their common edge is sharp [degrees]."""


def split_at_creases(
    mesh: TriangleMesh, absent: np.ndarray | None = None, groups: np.ndarray | None = None
) -> TriangleMesh:
    """Replace computed vertex normals by ones that are averaged only between creases.

    An edge is smooth if it belongs to exactly two triangles of opposite direction, the angle between them is at most `CREASE`,
    and their smoothing group is the same and not 0. Vertices are split where smooth edges do not connect all their triangles.

    Args:
        mesh: The mesh. Vertices at the same position are one point of the surface.
        absent: Whether each vertex gets a new normal, shape [vertex_count]; by default all do.
        groups: Smoothing group of each triangle, shape [triangle_count]; by default all are in one.

    Returns:
        The mesh with normals; positions, order and number of the triangles are the same.
    """
    indices = mesh.indices.astype(np.int64)
    count = len(indices)
    order = np.lexsort(mesh.positions.T)
    changes = np.any(mesh.positions[order[1:]] != mesh.positions[order[:-1]], axis=1)
    points = np.empty(len(order), dtype=np.int64)
    points[order] = np.concatenate(([0], np.cumsum(changes)))
    points = points[indices]  # [triangle_count, 3]
    place = _connected(3 * count, _smooth_edges(mesh, points, groups))

    # Corners that smooth edges connect have one normal, and corners of a vertex with stored normals keep theirs
    _, part = np.unique(place, return_inverse=True)
    part = part.reshape(count, 3)
    positions = np.zeros((part.max() + 1, 3), dtype=mesh.positions.dtype)
    positions[part] = mesh.positions[indices]
    averaged = smooth_normals(positions, part)
    new = np.ones(count * 3, dtype=bool) if absent is None else absent[indices.reshape(-1)]
    key = np.where(new, part.reshape(-1) + 1, 0) * len(mesh.positions) + indices.reshape(-1)
    _, first, corners = np.unique(key, return_index=True, return_inverse=True)
    vertices = indices.reshape(-1)[first]
    normals = averaged[part.reshape(-1)[first]]
    if mesh.normals is not None:
        normals = np.where(new[first][:, None], normals, mesh.normals[vertices])
    uvs, colors = (None if rows is None else rows[vertices] for rows in (mesh.uvs, mesh.colors))
    return TriangleMesh(
        mesh.positions[vertices],
        corners.reshape(count, 3).astype(np.int32),
        normals,
        uvs,
        colors,
        mesh.computed_normals,
    )


def _smooth_edges(mesh: TriangleMesh, points: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Return pairs of corners, as indices of `points`, that lie at the same end of a smooth edge, shape [pair_count, 2]."""
    corners = mesh.positions[mesh.indices].astype(np.float64)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1)
    normals = np.divide(normals, lengths[:, None], out=np.zeros_like(normals), where=lengths[:, None] > 0.0)
    # Sort the edges of all triangles, so that those between the same points are neighbours
    numbers_of_corners = np.arange(points.size).reshape(points.shape)
    begin, end = numbers_of_corners.reshape(-1), np.roll(numbers_of_corners, -1, axis=1).reshape(-1)
    ends = np.column_stack((points.reshape(-1)[begin], points.reshape(-1)[end]))
    forward = ends[:, 0] < ends[:, 1]
    ends.sort(axis=1)
    key = ends[:, 0] * (points.max() + 1) + ends[:, 1]
    order = np.argsort(key, kind="stable")
    _, starts, numbers = np.unique(key[order], return_index=True, return_counts=True)
    first, second = order[starts[numbers == 2]], order[starts[numbers == 2] + 1]
    a, b = first // 3, second // 3
    smooth = (forward[first] != forward[second]) & (lengths[a] > 0.0) & (lengths[b] > 0.0)
    smooth &= np.einsum("ij,ij->i", normals[a], normals[b]) >= np.cos(np.radians(CREASE)) - 1e-6
    if groups is not None:
        smooth &= (groups[a] == groups[b]) & (groups[a] != 0)
    first, second = first[smooth], second[smooth]
    # The edges run in opposite directions
    return np.concatenate((np.column_stack((begin[first], end[second])), np.column_stack((end[first], begin[second]))))


def _connected(count: int, pairs: np.ndarray) -> np.ndarray:
    """Return, for each of `count` nodes, the lowest number among all nodes that pairs connect it with."""
    place = np.arange(count)
    while True:
        before = place
        place = before.copy()
        low = np.minimum(before[pairs[:, 0]], before[pairs[:, 1]])
        for column in (0, 1):
            np.minimum.at(place, pairs[:, column], low)
            np.minimum.at(place, before[pairs[:, column]], low)
        place = place[place]
        if np.array_equal(place, before):
            return place
