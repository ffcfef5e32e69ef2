"""Vertices from the corners of faces, which have separate indices of positions, texture coordinates and normals, as in OBJ."""

from __future__ import annotations

import numpy as np


def unify_corners(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the distinct corners.

    Args:
        corners: Indices (v, vt, vn) of each corner, [corner_count, 3], int64; -1 where there is no vt or vn.

    Returns:
        The distinct triples, [vertex_count, 3], and the index of each corner's triple, [corner_count].
    """
    v, vt, vn = corners.T
    if all(np.array_equal(other, v) or other.max() < 0 for other in (vt, vn)):
        # All three indices are equal or absent, so the vertices are those of the file
        rows = np.arange(v.max() + 1)
        absent = np.full_like(rows, -1)
        return np.column_stack((rows, absent if vt.max() < 0 else rows, absent if vn.max() < 0 else rows)), v
    key = v * (vt.max() + 2) + vt + 1
    if (int(v.max()) + 1) * (int(vt.max()) + 2) * (int(vn.max()) + 2) >= 2**62:
        _, key = np.unique(key, return_inverse=True)  # so that the product below cannot overflow
    _, first, vertex_of_corner = np.unique(key * (vn.max() + 2) + vn + 1, return_index=True, return_inverse=True)
    return corners[first], vertex_of_corner
