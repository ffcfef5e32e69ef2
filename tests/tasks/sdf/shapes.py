"""Closed meshes whose signed distance has a closed form, and a slow distance to any mesh."""

import numpy as np


def sphere(subdivisions=4, radius=1.0, center=(0.0, 0.0, 0.0)):
    """A subdivided icosahedron with its vertices on a sphere; triangles face outwards."""
    golden = (1.0 + 5.0**0.5) / 2.0
    vertices = np.array(
        [
            *[(-1, golden, 0), (1, golden, 0), (-1, -golden, 0), (1, -golden, 0)],
            *[(0, -1, golden), (0, 1, golden), (0, -1, -golden), (0, 1, -golden)],
            *[(golden, 0, -1), (golden, 0, 1), (-golden, 0, -1), (-golden, 0, 1)],
        ]
    )
    faces = np.array(
        [
            *[(0, 11, 5), (0, 5, 1), (0, 1, 7), (0, 7, 10), (0, 10, 11), (1, 5, 9), (5, 11, 4), (11, 10, 2)],
            *[(10, 7, 6), (7, 1, 8), (3, 9, 4), (3, 4, 2), (3, 2, 6), (3, 6, 8), (3, 8, 9), (4, 9, 5)],
            *[(2, 4, 11), (6, 2, 10), (8, 6, 7), (9, 8, 1)],
        ]
    )
    for _ in range(subdivisions):
        edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
        unique, number = np.unique(edges, axis=0, return_inverse=True)
        middle = len(vertices) + number.reshape(-1, 3)
        vertices = np.concatenate([vertices, vertices[unique].mean(axis=1)])
        a, b, c = faces.T
        ab, bc, ca = middle.T
        faces = np.concatenate([np.stack(t, axis=1) for t in ((a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca))])
    vertices = vertices / np.linalg.norm(vertices, axis=1, keepdims=True)
    return vertices * radius + np.asarray(center), faces


def box(half=(1.0, 0.7, 0.4)):
    """A box around the origin: twelve triangles that face outwards."""
    vertices = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * np.asarray(half)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return vertices, np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))])


def box_distance(points, half=(1.0, 0.7, 0.4)):
    """The signed distance to `box`, [N]."""
    q = np.abs(points) - np.asarray(half)
    return np.linalg.norm(np.maximum(q, 0.0), axis=1) + np.minimum(q.max(axis=1), 0.0)


def torus(major=1.0, minor=0.35, around=128, across=64):
    """A ring around the y axis; triangles face outwards."""
    u, v = np.meshgrid(np.arange(around), np.arange(across), indexing="ij")
    phi, theta = 2 * np.pi * u / around, 2 * np.pi * v / across
    ring = major + minor * np.cos(theta)
    vertices = np.stack([ring * np.cos(phi), minor * np.sin(theta), ring * np.sin(phi)], axis=-1).reshape(-1, 3)
    at = lambda i, j: ((i % around) * across + j % across).ravel()  # noqa: E731
    a, b, c, d = at(u, v), at(u + 1, v), at(u + 1, v + 1), at(u, v + 1)
    return vertices, np.concatenate([np.stack([a, d, c], axis=1), np.stack([a, c, b], axis=1)])


def torus_distance(points, major=1.0, minor=0.35):
    """The signed distance to the surface that `torus` approximates, [N]."""
    ring = np.hypot(points[:, 0], points[:, 2]) - major
    return np.hypot(ring, points[:, 1]) - minor


def joined(*meshes):
    """Several meshes joined into one."""
    vertices, faces, count = [], [], 0
    for positions, indices in meshes:
        vertices.append(positions)
        faces.append(indices + count)
        count += len(positions)
    return np.concatenate(vertices), np.concatenate(faces)


def flipped(mesh, chosen=slice(None)):
    """A mesh with the orientation of some triangles reversed."""
    positions, indices = mesh
    indices = indices.copy()
    indices[chosen] = indices[chosen][:, ::-1]
    return positions, indices


def slow_distance(points, positions, indices):
    """Unsigned distances of points [N, 3] to the nearest of all triangles, one by one, in float64."""
    best = np.full(len(points), np.inf)
    for a, b, c in positions[indices].astype(np.float64):
        best = np.minimum(best, _to_triangle(points, a, b, c))
    return best


def _to_triangle(points, a, b, c):
    to_edges = np.min([_to_segment(points, p, q) for p, q in ((a, b), (b, c), (c, a))], axis=0)
    normal = np.cross(b - a, c - a)
    length = np.linalg.norm(normal)
    if length == 0.0:
        return to_edges
    normal = normal / length
    beside = [np.cross(q - p, points - p) @ normal >= 0.0 for p, q in ((a, b), (b, c), (c, a))]
    return np.where(np.all(beside, axis=0), np.abs((points - a) @ normal), to_edges)


def _to_segment(points, p, q):
    along = np.clip((points - p) @ (q - p) / max((q - p) @ (q - p), 1e-300), 0.0, 1.0)
    return np.linalg.norm(points - p - along[:, None] * (q - p), axis=1)


def winding_number(points, positions, indices):
    """The winding number, [N]: the solid angle of the mesh over 4 pi (Van Oosterom and Strackee 1983)."""
    total = np.zeros(len(points))
    for corner in positions[indices].astype(np.float64):
        a, b, c = corner[:, None, :] - points
        la, lb, lc = (np.linalg.norm(v, axis=1) for v in (a, b, c))
        dot = lambda x, y: np.einsum("ij,ij->i", x, y)  # noqa: E731
        above = dot(a, np.cross(b, c))
        below = la * lb * lc + dot(a, b) * lc + dot(b, c) * la + dot(c, a) * lb
        total += 2.0 * np.arctan2(above, below)
    return total / (4.0 * np.pi)
