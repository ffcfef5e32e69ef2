"""Comparison of a glTF mesh's tangents with those that its texture coordinates give.

The renderer uses the latter, which is also the format's rule for a mesh without tangents. Usually a file's tangents are the same
ones, smoothed.
"""

from __future__ import annotations

import numpy as np

LARGEST_ANGLE = 45.0
"""Angle above which two tangents count as different [degrees]."""
TOLERATED = 0.1
"""Fraction of the area whose tangents may differ because of smoothing, seams and poles."""


def differing_tangents(
    stored: np.ndarray, positions: np.ndarray, normals: np.ndarray | None, indices: np.ndarray, uvs: np.ndarray
) -> float:
    """Return the fraction of the area where stored tangents differ from those that texture coordinates give.

    Args:
        stored: Tangents, with their handedness in w, shape [vertex_count, 4].
        positions: Shape [vertex_count, 3].
        normals: Unit normals, shape [vertex_count, 3], or None for flat faces.
        indices: Triangles, shape [triangle_count, 3].
        uvs: Texture coordinates of the normal map, v = 0 at its top row, shape [vertex_count, 2].
    """
    corners, coordinates = positions[indices].astype(np.float64), uvs[indices].astype(np.float64)
    e1, e2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    d1, d2 = coordinates[:, 1] - coordinates[:, 0], coordinates[:, 2] - coordinates[:, 0]
    determinant = d1[:, 0] * d2[:, 1] - d1[:, 1] * d2[:, 0]
    up_side = np.sign(determinant)[:, None]
    right = (e1 * d2[:, 1:] - e2 * d1[:, 1:]) * up_side
    up = (e1 * d2[:, :1] - e2 * d1[:, :1]) * up_side
    faces = np.cross(e1, e2)
    areas = np.linalg.norm(faces, axis=1)
    given = stored[indices].astype(np.float64)
    n = (
        (faces / np.maximum(areas, 1e-300)[:, None])[:, None]
        if normals is None
        else normals[indices].astype(np.float64)
    )
    right, up = right[:, None] - n * _along(n, right[:, None]), up[:, None]
    cosine = _along(right, given[..., :3], normalized=True)[..., 0]
    hand = np.sign(_along(np.cross(n, right), up)[..., 0])
    differs = (cosine < np.cos(np.radians(LARGEST_ANGLE))) | (hand * given[..., 3] < 0.0)
    weight = np.broadcast_to((areas * (determinant != 0.0))[:, None], differs.shape)
    return float(weight[differs].sum() / max(weight.sum(), 1e-300))


def _along(a: np.ndarray, b: np.ndarray, *, normalized: bool = False) -> np.ndarray:
    """Return the component of `b` along unit vectors `a`, or with `normalized` the cosine of the angle between them."""
    products = np.sum(a * b, axis=-1, keepdims=True)
    if not normalized:
        return products
    lengths = np.linalg.norm(a, axis=-1, keepdims=True) * np.linalg.norm(b, axis=-1, keepdims=True)
    return products / np.maximum(lengths, 1e-300)
