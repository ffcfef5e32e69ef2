"""Triangle meshes of isosurfaces: their clean-up, and writing them to files for other programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nrc_tracer.errors import DataError, OutputError, nearest
from nrc_tracer.files.atomic import replacing
from nrc_tracer.imaging.tonemap import eight_bits, encode_srgb

FORMATS = (".ply", ".obj", ".glb", ".stl")
"""Extensions of the files that `write_surface` writes."""


@dataclass(frozen=True)
class Isosurface:
    """An isosurface as a triangle mesh.

    Attributes:
        positions: Vertex positions, float32 [V, 3], or float64 far from the origin.
        indices: Vertex indices of the triangles, int32 [T, 3], counter-clockwise seen from the outside.
        normals: Unit vertex normals, float32 [V, 3], or None.
        attributes: Other values at the vertices, such as colours, float32 [V, K], or None.
        evaluations: Number of points at which the function was evaluated.
    """

    positions: np.ndarray
    indices: np.ndarray
    normals: np.ndarray | None = None
    attributes: np.ndarray | None = None
    evaluations: int = 0


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Normalize vectors, [N, 3], float32; those of length 0 or not finite become 0."""
    rows = np.asarray(rows, np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    usable = np.isfinite(lengths) & (lengths > 0.0)
    return np.where(usable, rows / np.where(usable, lengths, 1.0), 0.0).astype(np.float32)


def mesh_normals(positions: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Return vertex normals, float32 [V, 3]: those of the adjacent triangles, weighted by area."""
    corners = positions[indices].astype(np.float64)
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    sums = np.stack([np.bincount(indices.ravel(), np.repeat(faces[:, i], 3), len(positions)) for i in range(3)], axis=1)
    return unit_rows(sums)


def collapsed(positions: np.ndarray, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Remove triangles with coincident vertices by joining these vertices, so that a closed mesh stays closed.

    Vertices are not joined where more than two triangles would share an edge.

    Args:
        positions: Vertex positions, float32 [V, 3].
        indices: Vertex indices, int32 [T, 3].

    Returns:
        Positions and indices of the new mesh.
    """
    edges = np.concatenate([indices[:, [0, 1]], indices[:, [1, 2]], indices[:, [2, 0]]])
    edges = edges[np.all(positions[edges[:, 0]] == positions[edges[:, 1]], axis=1)]
    while len(edges):
        place = _joined(len(positions), edges)
        joined = place[indices]
        joined = joined[
            (joined[:, 0] != joined[:, 1]) & (joined[:, 1] != joined[:, 2]) & (joined[:, 2] != joined[:, 0])
        ]
        joined = _without_pairs(joined)
        crowded = _crowded_vertices(joined)
        if not len(crowded):
            indices = joined
            break
        edges = edges[~np.isin(place[edges[:, 0]], crowded)]
    used, indices = np.unique(indices, return_inverse=True)
    return positions[used], indices.reshape(-1, 3).astype(np.int32)


def _joined(count: int, edges: np.ndarray) -> np.ndarray:
    """Return, for each vertex, the lowest number of all vertices that edges connect it with, int64 [count]."""
    place = np.arange(count)
    while True:
        before = place.copy()
        low = np.minimum(place[edges[:, 0]], place[edges[:, 1]])
        np.minimum.at(place, edges[:, 0], low)
        np.minimum.at(place, edges[:, 1], low)
        place = place[place]
        if np.array_equal(place, before):
            return place


def _without_pairs(indices: np.ndarray) -> np.ndarray:
    """Return the triangles without pairs that have the same vertices in opposite orientation."""
    _, kind, counts = np.unique(np.sort(indices, axis=1), axis=0, return_inverse=True, return_counts=True)
    turn = np.argmin(indices, axis=1)[:, None]
    even = np.take_along_axis(indices, (turn + 1) % 3, 1)[:, 0] < np.take_along_axis(indices, (turn + 2) % 3, 1)[:, 0]
    balance = np.bincount(kind.ravel(), np.where(even, 1.0, -1.0))
    return indices[~((counts == 2) & (balance == 0.0))[kind.ravel()]]


def _crowded_vertices(indices: np.ndarray) -> np.ndarray:
    """Return the vertices of edges that several triangles have in the same direction."""
    edges = np.concatenate([indices[:, [0, 1]], indices[:, [1, 2]], indices[:, [2, 0]]]).astype(np.int64)
    keys, counts = np.unique(edges[:, 0] << 32 | edges[:, 1], return_counts=True)
    keys = keys[counts > 1]
    return np.unique(np.concatenate([keys >> 32, keys & 0xFFFFFFFF]))


def write_surface(surface: Isosurface, path: str | Path) -> Path:
    """Write a mesh for other programs as PLY, OBJ, glTF (`.glb`) or STL, by the extension.

    Except in STL, vertex normals are written too, and three or four attributes (linear RGB and opacity in [0, 1]) become vertex
    colours of 8 bits: sRGB in PLY and OBJ, linear in glTF. Positions far from the origin keep their precision in OBJ only; the
    other formats store them in float32. An existing file is replaced only when the new one is complete.

    Raises:
        OutputError: The extension is another one, or the file cannot be written.
        DataError: trimesh is not installed.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in FORMATS:
        raise OutputError(f'{path}: "{path.suffix}" is not a format to write a mesh in{nearest(kind, FORMATS)}')
    try:
        import trimesh
    except ImportError as error:
        raise DataError("writing a mesh needs trimesh: pip install 'nrc-tracer[tasks]'") from error
    mesh = trimesh.Trimesh(
        surface.positions, surface.indices, vertex_normals=surface.normals, process=False, validate=False
    )
    if kind != ".stl" and surface.attributes is not None and surface.attributes.shape[1] in (3, 4):
        mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=_codes(surface.attributes, linear=kind == ".glb"))
    option = {".ply": "vertex_normal", ".obj": "include_normals", ".glb": "include_normals", ".stl": None}[kind]
    options = {} if option is None else {option: surface.normals is not None}
    data = mesh.export(None, file_type=kind[1:], **options)
    assert isinstance(data, bytes | str)  # as trimesh returns for these formats
    with replacing(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def _codes(colors: np.ndarray, *, linear: bool) -> np.ndarray:
    """Convert colours to 8 bits, uint8 [V, 3 or 4]."""
    codes = np.clip(np.nan_to_num(colors), 0.0, 1.0)
    if not linear:
        codes[:, :3] = encode_srgb(codes[:, :3])
    return eight_bits(codes)
