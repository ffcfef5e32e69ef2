"""Shapes as triangles: tessellation in local space, and transforms to world space.

Positions, texture coordinates and normals are those of Mitsuba 3, so that a scene file means the same to both. Curved shapes
have enough facets to look round, and are enlarged by a few parts in 10^5 so that their *area* is that of the exact shape: an
area light then emits the right power.
"""

from __future__ import annotations

import numpy as np

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.mesh_attributes import with_attribute
from nrc_tracer.scene.model import Cube, Cylinder, Disk, GroupShape, Mesh, NeuralSdf, Rectangle, Sphere, TriangleMesh
from nrc_tracer.scene.positions import stored_positions
from nrc_tracer.scene.transforms import matrix

SEGMENTS = 256
"""Number of facets around a disk, a cylinder or the equator of a sphere."""
UNIFORM = 1e-4
"""Largest relative difference between the scales along the axes of a transform that counts as uniform."""


def tessellate(shape: GroupShape, file_mesh: TriangleMesh | None = None) -> TriangleMesh:
    """Convert a shape to triangles in its local space, without `to_world` and `flip_normals`.

    Args:
        shape: Any shape but a `NeuralSdf`. `face_normals` and `flip_v` of a `Mesh` are applied; a mesh given in place without
            vertex normals gets smooth ones unless `face_normals` is set.
        file_mesh: The triangles of `Mesh.file`, as `load_mesh` returns them.

    Returns:
        The triangles, with int32 indices and float32 for everything else, except for positions far from the origin.

    Raises:
        SceneError: The shape is a cylinder of length 0, a `Mesh` whose arrays do not fit together or which has neither arrays
            nor a `file_mesh`, or a `NeuralSdf`, which only the tracer converts to triangles.
    """
    match shape:
        case Mesh():
            return _mesh(shape, file_mesh)
        case Rectangle():
            return _rectangle()
        case Cube():
            return _cube()
        case Disk():
            return _disk()
        case Cylinder():
            return _cylinder(shape)
        case Sphere():
            return _sphere(shape)
        case NeuralSdf():
            raise SceneError(
                "a neural-sdf is converted to triangles only for rendering; nrc-tracer decode sdf makes a mesh of it"
            )


def transform_mesh(
    mesh: TriangleMesh, to_world: np.ndarray, flip_normals: bool = False, origin: np.ndarray | None = None
) -> TriangleMesh:
    """Transform a mesh by an affine map, its normals by the inverse transpose.

    The winding follows the normals. A mirroring map (negative determinant) reverses it, so that the mirror image of an outward
    normal still points outwards; `flip_normals` reverses it too; both together leave it unchanged.

    Args:
        mesh: The mesh.
        to_world: An invertible affine map, shape [4, 4].
        flip_normals: Whether to turn the normals round.
        origin: A point to subtract from the positions, which are then float32; by default none, and distant ones are float64.

    Raises:
        SceneError: A transformed vertex is beyond the range of float32.
    """
    linear = np.asarray(to_world, dtype=np.float64)[:3, :3]
    positions = mesh.positions.astype(np.float64) @ linear.T + (to_world[:3, 3] - (0.0 if origin is None else origin))
    if np.any(np.abs(positions) > np.finfo(np.float32).max):
        raise SceneError("the transform moves vertices beyond the range of float32")
    normals = mesh.normals
    if normals is not None:
        # n' = M^-T n, as row vectors n M^-1
        mapped = normals.astype(np.float64) @ np.linalg.inv(linear)
        normals = _unit_rows(-mapped if flip_normals else mapped)
    indices = mesh.indices
    if (np.linalg.det(linear) < 0.0) != flip_normals:
        indices = np.ascontiguousarray(indices[:, ::-1])
    positions = stored_positions(positions) if origin is None else positions.astype(np.float32)
    return TriangleMesh(positions, indices, normals, mesh.uvs, mesh.colors)


def world_mesh(shape: GroupShape, file_mesh: TriangleMesh | None = None) -> TriangleMesh:
    """Convert a shape to triangles in world space, with `to_world` and `flip_normals` applied.

    Args:
        shape: Any shape.
        file_mesh: The triangles of `Mesh.file`.

    Raises:
        SceneError: As `tessellate` and `transforms.matrix`.
    """
    return place_mesh(tessellate(shape, file_mesh), shape)


def place_mesh(
    mesh: TriangleMesh, shape: GroupShape, to_world: np.ndarray | None = None, origin: np.ndarray | None = None
) -> TriangleMesh:
    """Transform a shape's triangles, as `tessellate` returns them, to world space, by `to_world` if its matrix is known.

    `origin` as for `transform_mesh`.
    """
    to_world = matrix(shape.to_world) if to_world is None else to_world
    flip = shape.flip_normals
    if isinstance(shape, Sphere) and np.linalg.det(to_world[:3, :3]) < 0.0:
        flip = not flip  # as in world_sphere
    return transform_mesh(mesh, to_world, flip, origin)


def triangle_count(shape: GroupShape, file_mesh: TriangleMesh | None = None) -> int:
    """Return how many triangles `tessellate` makes; 0 for an analytic sphere, and for a neural SDF, whose number is unknown."""
    match shape:
        case NeuralSdf():
            return 0
        case Mesh():
            return len(shape.indices or ()) if file_mesh is None else len(file_mesh.indices)
        case Rectangle():
            return 2
        case Cube():
            return 12
        case Disk():
            return SEGMENTS
        case Cylinder():
            return 2 * SEGMENTS
        case Sphere():
            return 0 if world_sphere(shape) is not None else SEGMENTS * (SEGMENTS - 2)


def vertex_count(shape: GroupShape, file_mesh: TriangleMesh | None = None) -> int:
    """Return how many vertices `tessellate` makes; 0 where `triangle_count` is 0."""
    match shape:
        case NeuralSdf():
            return 0
        case Mesh():
            return len(shape.positions or ()) if file_mesh is None else len(file_mesh.positions)
        case Rectangle():
            return 4
        case Cube():
            return 24
        case Disk():
            return 2 * SEGMENTS + 1
        case Cylinder():
            return 2 * (SEGMENTS + 1)
        case Sphere():
            return 0 if world_sphere(shape) is not None else (SEGMENTS + 1) * (SEGMENTS // 2 + 1)


def world_sphere(sphere: Sphere, to_world: np.ndarray | None = None) -> tuple[np.ndarray, float, bool] | None:
    """Return the sphere in world space, or None if its transform makes it an ellipsoid, for which there is `world_mesh`.

    `to_world` is the matrix of the sphere's transform, if it is known already.

    Returns:
        Centre, shape [3], float64; radius; and whether the normals point inwards. As in Mitsuba, a mirroring transform turns
        the normals of an analytic sphere inwards, and `flip_normals` turns them round once more.

    Raises:
        SceneError: As `transforms.matrix`.
    """
    to_world = matrix(sphere.to_world) if to_world is None else to_world
    linear = to_world[:3, :3]
    gram = linear.T @ linear
    scale_squared = np.trace(gram) / 3.0
    if np.max(np.abs(gram - scale_squared * np.eye(3))) > 2.0 * UNIFORM * scale_squared:
        return None
    center = linear @ np.asarray(sphere.center, dtype=np.float64) + to_world[:3, 3]
    mirrored = bool(np.linalg.det(linear) < 0.0)
    return center, float(sphere.radius * np.sqrt(scale_squared)), mirrored != sphere.flip_normals


def smooth_normals(positions: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Average the face normals around each vertex, weighted by the angle of the face at the vertex.

    Source: G. Thuermer and C. A. Wuethrich, *Computing Vertex Normals from Polygonal Facets* (1998).

    Args:
        positions: Vertex positions, shape [vertex_count, 3].
        indices: Triangles, shape [triangle_count, 3].

    Returns:
        Unit normals, shape [vertex_count, 3], float32; (1, 0, 0) where no adjacent triangle has an area.
    """
    corners = positions[indices].astype(np.float64)  # [triangle_count, 3, 3]
    edges = np.roll(corners, -1, axis=1) - corners  # edge k goes from corner k to the next
    normals = np.cross(edges[:, 0], -edges[:, 2])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = np.divide(normals, lengths, out=np.zeros_like(normals), where=lengths > 0.0)
    result = np.zeros((len(positions), 3))
    for corner in range(3):
        out, back = edges[:, corner], -edges[:, corner - 1]
        angle = np.arctan2(np.linalg.norm(np.cross(out, back), axis=1), np.einsum("ij,ij->i", out, back))
        for axis in range(3):
            result[:, axis] += np.bincount(indices[:, corner], angle * normals[:, axis], minlength=len(positions))
    return _unit_rows(result)


def unit_normals(stored: np.ndarray, positions: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Normalize stored vertex normals; those of length 0 or not finite are replaced by `smooth_normals`.

    Args:
        stored: Vertex normals of any length, shape [vertex_count, 3].
        positions: Vertex positions, shape [vertex_count, 3].
        indices: Triangles, shape [triangle_count, 3].

    Returns:
        Unit normals, shape [vertex_count, 3], float32.
    """
    normals = stored.astype(np.float64)
    lengths = np.linalg.norm(normals, axis=1)
    usable = np.isfinite(lengths) & (lengths > 0.0)
    normals[usable] /= lengths[usable, None]
    if not np.all(usable):
        normals[~usable] = smooth_normals(positions, indices)[~usable]
    return normals.astype(np.float32)


def _unit_rows(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    fallback = np.broadcast_to((1.0, 0.0, 0.0), vectors.shape).copy()
    return np.divide(vectors, lengths, out=fallback, where=lengths > 0.0).astype(np.float32)


# --- One function per shape


def _mesh(shape: Mesh, file_mesh: TriangleMesh | None) -> TriangleMesh:
    if shape.positions is not None:
        mesh = _inline_mesh(shape)
    elif file_mesh is not None:
        mesh = file_mesh if shape.color_attribute is None else with_attribute(file_mesh, shape.color_attribute)
    else:
        raise SceneError(f'mesh "{shape.name}": no positions, and its file "{shape.file}" is not loaded')
    uvs = mesh.uvs
    if shape.flip_v and uvs is not None:
        uvs = np.column_stack((uvs[:, 0], 1.0 - uvs[:, 1])).astype(np.float32)
    normals = None if shape.face_normals else mesh.normals
    return TriangleMesh(mesh.positions, mesh.indices, normals, uvs, mesh.colors)


def _inline_mesh(shape: Mesh) -> TriangleMesh:
    what = f'mesh "{shape.name}"' if shape.name else "mesh given in place"
    if not shape.positions or not shape.indices:
        raise SceneError(f"{what}: it needs both positions and indices, and neither may be empty")
    positions = stored_positions(np.array(shape.positions, dtype=np.float64))
    indices = np.array(shape.indices, dtype=np.int64)
    if not np.all(np.isfinite(positions)):
        raise SceneError(f"{what}: a position is not finite")
    if np.any(indices < 0) or np.any(indices >= len(positions)):
        bad = indices[np.any((indices < 0) | (indices >= len(positions)), axis=1)][0]
        raise SceneError(f"{what}: indices {tuple(bad.tolist())} are outside the {len(positions)} positions")
    for name in ("normals", "uvs", "colors"):
        values = getattr(shape, name)
        if values is not None and len(values) != len(positions):
            raise SceneError(f"{what}: {len(values)} {name} for {len(positions)} positions; give one for each")
    if shape.normals is not None:
        normals = _unit_rows(np.array(shape.normals, dtype=np.float64))
    else:
        normals = smooth_normals(positions, indices)
    uvs = None if shape.uvs is None else np.array(shape.uvs, dtype=np.float32)
    colors = None
    if shape.colors is not None:
        colors = np.ones((len(shape.colors), 4), dtype=np.float32)
        rows = np.array(shape.colors, dtype=np.float32)
        colors[:, : rows.shape[1]] = rows
    return TriangleMesh(positions, indices.astype(np.int32), normals, uvs, colors)


def _rectangle() -> TriangleMesh:
    uvs = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=np.float32)
    positions = np.column_stack((2.0 * uvs - 1.0, np.zeros(4)))
    normals = np.tile((0.0, 0.0, 1.0), (4, 1))
    return _pack(positions, [[0, 1, 2], [2, 3, 0]], normals, uvs)


def _cube() -> TriangleMesh:
    # The normal of each face, and the directions along which u and v grow
    faces = np.array(
        [
            [[0, -1, 0], [0, 0, 1], [1, 0, 0]],
            [[0, 1, 0], [-1, 0, 0], [0, 0, -1]],
            [[1, 0, 0], [0, 1, 0], [0, 0, -1]],
            [[0, 0, 1], [0, 1, 0], [1, 0, 0]],
            [[-1, 0, 0], [0, 1, 0], [0, 0, 1]],
            [[0, 0, -1], [0, -1, 0], [1, 0, 0]],
        ],
        dtype=np.float64,
    )
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=np.float64)
    positions, normals, indices = [], [], []
    for number, (normal, along_u, along_v) in enumerate(faces):
        signs = 2.0 * square - 1.0
        positions.append(normal + signs[:, :1] * along_u + signs[:, 1:] * along_v)
        normals.append(np.tile(normal, (4, 1)))
        quad = np.array([[0, 1, 2], [2, 3, 0]]) + 4 * number
        indices.append(quad if np.dot(np.cross(along_u, along_v), normal) > 0.0 else quad[:, ::-1])
    return _pack(np.concatenate(positions), np.concatenate(indices), np.concatenate(normals), np.tile(square, (6, 1)))


def _disk() -> TriangleMesh:
    count = SEGMENTS
    phi = np.arange(count + 1) / count
    # A regular polygon of circumradius R has the area n / 2 R^2 sin(2 pi / n)
    radius = np.sqrt(2.0 * np.pi / (count * np.sin(2.0 * np.pi / count)))
    rim = np.column_stack((radius * _circle(phi), np.zeros(count + 1)))
    # Each segment has its own copy of the centre, whose phi is that of the segment
    positions = np.concatenate((rim, np.zeros((count, 3))))
    uvs = np.concatenate(
        (
            np.column_stack((np.ones(count + 1), phi)),
            np.column_stack((np.zeros(count), (np.arange(count) + 0.5) / count)),
        )
    )
    segment = np.arange(count)
    indices = np.column_stack((count + 1 + segment, segment, segment + 1))
    return _pack(positions, indices, np.tile((0.0, 0.0, 1.0), (len(positions), 1)), uvs)


def _cylinder(shape: Cylinder) -> TriangleMesh:
    start, end = np.asarray(shape.p0, dtype=np.float64), np.asarray(shape.p1, dtype=np.float64)
    length = np.linalg.norm(end - start)
    if not length > 0.0:
        raise SceneError(f'cylinder "{shape.name}": p0 and p1 are the same point')
    axis = (end - start) / length
    across, along = _orthonormal_basis(axis)
    count = SEGMENTS
    phi = np.arange(count + 1) / count
    # The perimeter of a regular polygon of circumradius R is 2 n R sin(pi / n)
    radius = shape.radius * np.pi / (count * np.sin(np.pi / count))
    radial = _circle(phi) @ np.stack((across, along))
    positions = np.concatenate((start + radius * radial, end + radius * radial))
    uvs = np.concatenate([np.column_stack((phi, np.full(count + 1, height))) for height in (0.0, 1.0)])
    low = np.arange(count)
    high = low + count + 1
    indices = np.concatenate((np.column_stack((low, low + 1, high + 1)), np.column_stack((high + 1, high, low))))
    return _pack(positions, indices, np.tile(radial, (2, 1)), uvs)


def _sphere(shape: Sphere) -> TriangleMesh:
    columns, rows = SEGMENTS, SEGMENTS // 2
    u, v = np.meshgrid(np.arange(columns + 1) / columns, np.arange(rows + 1) / rows)
    # At the poles u is the middle of each segment
    u[0] += 0.5 / columns
    u[-1] += 0.5 / columns
    sine = np.sin(np.pi * v)
    sine[-1] = 0.0
    normals = np.dstack((sine * np.cos(2.0 * np.pi * u), sine * np.sin(2.0 * np.pi * u), np.cos(np.pi * v))).reshape(
        -1, 3
    )
    above = np.arange(rows)[:, None] * (columns + 1) + np.arange(columns)  # upper left corners, shape [rows, columns]
    below = above + columns + 1
    left = np.dstack((above, below, below + 1))[:-1]  # the first and the last row have one triangle per segment
    right = np.dstack((above, below + 1, above + 1))[1:-1]
    cap = np.dstack((above, below, above + 1))[-1:]
    indices = np.concatenate([part.reshape(-1, 3) for part in (left, right, cap)])
    corners = normals[indices]
    area = 0.5 * np.sum(np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1))
    radius = shape.radius * np.sqrt(4.0 * np.pi / area)
    positions = np.asarray(shape.center, dtype=np.float64) + radius * normals
    return _pack(positions, indices, normals, np.column_stack((u.ravel(), v.ravel())))


def _circle(turns: np.ndarray) -> np.ndarray:
    """Return points of the unit circle at fractions of a turn, shape [count, 2]; a whole turn gives exactly the first point."""
    angle = 2.0 * np.pi * np.mod(turns, 1.0)
    return np.column_stack((np.cos(angle), np.sin(angle)))


def _orthonormal_basis(axis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two unit vectors perpendicular to an axis (T. Duff et al., *Building an Orthonormal Basis, Revisited*, 2017)."""
    x, y, z = axis
    sign = np.copysign(1.0, z)
    a = -1.0 / (sign + z)
    b = x * y * a
    return np.array((1.0 + sign * x * x * a, sign * b, -sign * x)), np.array((b, sign + y * y * a, -y))


def _pack(positions: np.ndarray, indices: np.ndarray | list, normals: np.ndarray, uvs: np.ndarray) -> TriangleMesh:
    return TriangleMesh(
        np.ascontiguousarray(stored_positions(np.asarray(positions, dtype=np.float64))),
        np.ascontiguousarray(indices, dtype=np.int32),
        np.ascontiguousarray(normals, dtype=np.float32),
        np.ascontiguousarray(uvs, dtype=np.float32),
    )
