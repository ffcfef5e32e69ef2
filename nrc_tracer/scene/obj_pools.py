"""The definitions of an OBJ file while it is read, and the mesh that they become."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.corners import unify_corners
from nrc_tracer.scene.geometry import smooth_normals
from nrc_tracer.scene.model import TriangleMesh
from nrc_tracer.scene.polygons import POINT_CLOUD, triangulate
from nrc_tracer.scene.positions import stored_positions
from nrc_tracer.scene.vertex_colors import decode_srgb, linear_colors

WIDTHS = {"v": 3, "vt": 2, "vn": 3}
"""Numbers that are kept of the lines of each kind."""


@dataclass(frozen=True)
class ObjMesh:
    """The faces of an OBJ file, and the materials that it names.

    Attributes:
        mesh: All faces.
        materials: The names after `usemtl`, in the order of their first use.
        material_of: Index into `materials` of each triangle, -1 before the first `usemtl`, shape [triangle_count], int32.
        libraries: The text after each `mtllib`, with the number of its first line.
        smoothing: Smoothing group of each triangle, shape [triangle_count], int32: 0 after `s off`, 1 where there is no `s`.
        without_normal: Whether each vertex has no usable `vn`, shape [vertex_count].
    """

    mesh: TriangleMesh
    materials: tuple[str, ...]
    material_of: np.ndarray
    libraries: dict[str, int]
    smoothing: np.ndarray
    without_normal: np.ndarray


@dataclass
class ObjPools:
    """The definitions in the lines read so far, one array per block.

    Attributes:
        values: Rows of v, vt and vn, shape [count, width].
        colors: Colours of the rows of v, shape [count, 3]; None for a block without colours.
        counts: Number of rows of each kind.
        corners: Rows of v, vt and vn of each corner of each face, shape [corner_count, 3], -1 if absent.
        sizes: Number of corners of each face.
        materials: Numbers of the names after `usemtl`.
        current: Number of the current material, -1 before the first `usemtl`.
        material_of: Number of the material of each face.
        libraries: The text after each `mtllib`, with the number of its first line.
        group: Current smoothing group.
        smoothing: Smoothing group of each face.
    """

    values: dict[str, list[np.ndarray]] = field(default_factory=lambda: {kind: [] for kind in WIDTHS})
    colors: list[np.ndarray | None] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(WIDTHS, 0))
    corners: list[np.ndarray] = field(default_factory=list)
    sizes: list[np.ndarray] = field(default_factory=list)
    materials: dict[str, int] = field(default_factory=dict)
    current: int = -1
    material_of: list[np.ndarray] = field(default_factory=list)
    libraries: dict[str, int] = field(default_factory=dict)
    group: int = 1
    smoothing: list[np.ndarray] = field(default_factory=list)


def assemble(path: Path, pools: ObjPools) -> tuple[TriangleMesh, np.ndarray]:
    """Return the mesh, and whether each vertex has no `vn`."""
    corners = np.concatenate(pools.corners) if pools.corners else np.zeros((0, 3), dtype=np.int64)
    sizes = np.concatenate(pools.sizes) if pools.sizes else np.zeros(0, dtype=np.int64)
    for column, (kind, count) in enumerate(pools.counts.items()):
        if len(corners) and corners[:, column].max() >= count:
            raise SceneError(f"{path}: a face uses {kind} {corners[:, column].max() + 1}, and there are only {count}")
    values = {kind: np.concatenate([np.zeros((0, WIDTHS[kind])), *rows]) for kind, rows in pools.values.items()}
    try:
        triangles = triangulate(sizes, values["v"][corners[:, 0]])
    except SceneError as error:
        raise SceneError(f"{path}: {error}") from error
    if not len(triangles):
        cloud = pools.counts["v"] and not len(sizes)
        raise SceneError(f"{path}: no triangles in the file" + (f". {POINT_CLOUD}" if cloud else ""))
    vertices, vertex_of_corner = unify_corners(corners)
    positions = stored_positions(values["v"])
    if not np.all(np.isfinite(positions)):
        raise SceneError(f"{path}: a vertex position is beyond the range of float32")
    indices = vertex_of_corner[triangles]
    v, vt, vn = vertices.T

    uvs = None
    if np.any(vt >= 0):
        uvs = np.zeros((len(vertices), 2), dtype=np.float32)
        with np.errstate(over="ignore"):  # numbers beyond float32 become infinite, which is refused later
            uvs[vt >= 0] = values["vt"][vt[vt >= 0]]
    normals = np.zeros((len(vertices), 3))
    normals[vn >= 0] = values["vn"][vn[vn >= 0]]
    with np.errstate(over="ignore"):
        lengths = np.linalg.norm(normals, axis=1)
    absent = ~(np.isfinite(lengths) & (lengths > 0.0))
    normals[absent], lengths[absent] = 0.0, 1.0
    normals = (normals / lengths[:, None]).astype(np.float32)
    if np.any(absent):
        normals[absent] = smooth_normals(positions, v[indices])[v[absent]]
    colors = None
    if any(part is not None for part in pools.colors):
        parts = [
            np.ones_like(rows) if part is None else part
            for rows, part in zip(pools.values["v"], pools.colors, strict=True)
        ]
        colors = linear_colors([*decode_srgb(np.concatenate(parts)).T])[v]
    mesh = TriangleMesh(positions[v], indices.astype(np.int32), normals, uvs, colors, bool(np.all(absent)))
    return mesh, absent
