"""Pseudonormals of faces, edges and vertices: their product with the vector from the nearest point tells inside from outside.

Baerentzen and Aanaes, *Signed Distance Computation Using the Angle Weighted Pseudonormal* (2005). A vertex has the sum of its
triangles' normals weighted by their angles there, an edge the sum of its two triangles' normals.
"""

from __future__ import annotations

import numpy as np

from nrc_tracer.tasks.sdf.mesh import UnitMesh
from nrc_tracer.tasks.sdf.soundness import EdgeTable


def pseudonormals(mesh: UnitMesh, edges: EdgeTable) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normals of triangles [T, 3], of their edges [T, 3, 3] (edge k goes from corner k to the next), and of vertices [V, 3].

    All are float32. Those of triangles have unit length, or are zero for triangles without area; the others have any length.
    """
    corners = mesh.positions.astype(np.float64)[mesh.indices]
    ahead = np.roll(corners, -1, axis=1) - corners
    back = np.roll(corners, 1, axis=1) - corners
    normal = face_normals(mesh.positions, mesh.indices)

    sine = np.linalg.norm(np.cross(ahead, back), axis=2)
    angle = np.arctan2(sine, np.einsum("tki,tki->tk", ahead, back))
    weighted = angle[:, :, None] * normal[:, None, :]
    at_vertex = _sums(mesh.indices.ravel(), weighted.reshape(-1, 3), len(mesh.positions))

    whole = edges.numbers[:, 0] >= 0
    numbers = edges.numbers[whole]
    at_edge = _sums(numbers.ravel(), np.repeat(normal[whole], 3, axis=0), len(edges.triangles))
    of_triangle = np.repeat(normal[:, None, :], 3, axis=1)
    of_triangle[whole] = at_edge[numbers]
    return normal.astype(np.float32), of_triangle.astype(np.float32), at_vertex.astype(np.float32)


def face_normals(positions: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Unit normals of triangles, float64 [T, 3]; zero for triangles without area."""
    a, b, c = (positions[indices[:, corner]].astype(np.float64) for corner in range(3))
    normal = np.cross(b - a, c - a)
    area = np.linalg.norm(normal, axis=1, keepdims=True)
    return np.divide(normal, area, out=np.zeros_like(normal), where=area > 0.0)


def _sums(places: np.ndarray, vectors: np.ndarray, count: int) -> np.ndarray:
    return np.stack([np.bincount(places, weights=vectors[:, i], minlength=count) for i in range(3)], axis=1)
