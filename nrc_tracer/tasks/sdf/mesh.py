"""The mesh to learn: every triangle of a file, equal positions made one vertex, scaled into the unit cube."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nrc_tracer.errors import DataError, SceneError, nearest
from nrc_tracer.scene.geometry import world_mesh
from nrc_tracer.scene.instances import placed_shapes
from nrc_tracer.scene.load import load_scene
from nrc_tracer.scene.mesh_files import READERS, load_mesh
from nrc_tracer.scene.model import Mesh

FILL = 0.9
"""Largest extent of the mesh in the unit cube: what is left keeps samples beside the surface inside of the cube."""
SCENES = (".glb", ".gltf")


@dataclass(frozen=True)
class SurfaceMesh:
    """Triangles in the unit cube.

    Attributes:
        name: Of the file, without its folder.
        positions: Vertices in the unit cube, no two of them equal, float32 [vertex_count, 3].
        indices: Vertices of the triangles, counter-clockwise seen from outside where the file has it so, int32
            [triangle_count, 3].
        center: What becomes (0.5, 0.5, 0.5), in the mesh's own coordinates, float64 [3].
        scale: What lengths are multiplied by.
        bounds: Lowest and highest corner in the mesh's own coordinates, float64 [2, 3].
        fingerprint: Of positions and triangles; another for every other mesh.
    """

    name: str
    positions: np.ndarray
    indices: np.ndarray
    center: np.ndarray
    scale: float
    bounds: np.ndarray
    fingerprint: str

    @property
    def box(self) -> np.ndarray:
        """Lowest and highest corner in the unit cube, float64 [2, 3]."""
        return (self.bounds - self.center) * self.scale + 0.5

    def turned_over(self) -> SurfaceMesh:
        """The same triangles seen from their other side."""
        return replace(self, indices=np.ascontiguousarray(self.indices[:, [0, 2, 1]]))


def load_surface(path: str | os.PathLike[str]) -> SurfaceMesh:
    """Read all triangles of a mesh file (.obj, .ply, .stl, .glb, .gltf; the meshes of a glTF file where its nodes place them).

    Raises:
        DataError: The file is missing, malformed or of another format, a position is not finite, there is no triangle, or none
            that has an area.
    """
    path = Path(path)
    try:
        positions, indices = _read(path)
    except SceneError as error:
        raise DataError(str(error)) from error
    return surface_mesh(positions, indices, path.name)


def surface_mesh(positions: np.ndarray, indices: np.ndarray, name: str = "mesh") -> SurfaceMesh:
    """Triangles given as arrays, [V, 3] and [T, 3]; `name` begins the messages of errors, which are those of `load_surface`."""
    indices = np.asarray(indices).reshape(-1, 3)
    positions = np.asarray(positions, np.float32).reshape(-1, 3)
    if not len(indices):
        raise DataError(f"{name}: no triangles in the file")
    if indices.min() < 0 or indices.max() >= len(positions):
        raise DataError(f"{name}: a triangle has a vertex that is not among the {len(positions)} of the file")
    finite = np.isfinite(positions).all(axis=1)
    if not finite.all():
        raise DataError(f"{name}: vertex {np.argmin(finite)} has a position that is not finite")

    # Vertices that no triangle has do not count; adding zero makes -0 and 0 the same
    used, corners = np.unique(indices, return_inverse=True)
    rows = np.ascontiguousarray(positions[used] + np.float32(0.0))
    _, first, merged = np.unique(rows.view([("", np.float32)] * 3).ravel(), return_index=True, return_inverse=True)
    vertices = rows[first].astype(np.float64)
    triangles = merged[corners].reshape(-1, 3).astype(np.int32)

    bounds = np.stack([vertices.min(axis=0), vertices.max(axis=0)])
    extent = float((bounds[1] - bounds[0]).max())
    if extent <= 0.0:
        raise DataError(f"{name}: all {len(indices)} triangles are in one point, so there is no surface to learn")
    center = bounds.mean(axis=0)
    scale = FILL / extent
    unit = ((vertices - center) * scale + 0.5).astype(np.float32)
    a, b, c = (unit[triangles[:, corner]].astype(np.float64) for corner in range(3))
    if not np.linalg.norm(np.cross(b - a, c - a), axis=1).any():
        raise DataError(f"{name}: none of the {len(indices)} triangles has an area, so there is no surface to learn")
    digest = hashlib.blake2b(vertices.tobytes(), digest_size=16)
    digest.update(triangles.tobytes())
    return SurfaceMesh(name, unit, triangles, center, scale, bounds, digest.hexdigest())


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    extension = path.suffix.lower()
    if extension in READERS:
        mesh = load_mesh(path)
        return mesh.positions, mesh.indices
    if extension not in SCENES:
        known = (*READERS, *SCENES)
        raise SceneError(f'{path}: "{path.suffix}" is not a mesh format{nearest(path.suffix, known)}')
    scene = load_scene(path)
    positions, indices, count = [], [], 0
    for placed in placed_shapes(scene.description):
        file_mesh = scene.meshes.get(placed.shape.file) if isinstance(placed.shape, Mesh) else None
        mesh = world_mesh(placed.shape, file_mesh)
        positions.append(mesh.positions)
        indices.append(mesh.indices + count)
        count += len(mesh.positions)
    if not indices:
        raise SceneError(f"{path}: no triangles in the file")
    return np.concatenate(positions), np.concatenate(indices)
