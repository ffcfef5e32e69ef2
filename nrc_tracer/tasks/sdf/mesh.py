"""The mesh to learn: all triangles of a file, with equal positions merged into one vertex, scaled into the unit cube."""

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
from nrc_tracer.scene.positions import stored_positions

FILL = 0.9
"""Largest extent of the mesh in unit cubes; the margin keeps samples near the surface inside the cube."""
SCENES = (".glb", ".gltf")
"""Extensions of files that hold placed meshes."""


@dataclass(frozen=True)
class UnitMesh:
    """A triangle mesh scaled into the unit cube.

    Attributes:
        name: File name without its folder.
        positions: Vertices in the unit cube, all different, float32 [vertex_count, 3].
        indices: Vertices of the triangles, counter-clockwise seen from outside if the file has them so, int32
            [triangle_count, 3].
        center: Point of the mesh's own coordinates that is mapped to (0.5, 0.5, 0.5), float64 [3].
        scale: Factor from the mesh's own lengths to lengths in the unit cube.
        bounds: Lowest and highest corner in the mesh's own coordinates, float64 [2, 3].
        fingerprint: Digest of positions and triangles.
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

    def turned_over(self) -> UnitMesh:
        """The same mesh with the orientation of all triangles reversed."""
        return replace(self, indices=np.ascontiguousarray(self.indices[:, [0, 2, 1]]))


def load_unit_mesh(path: str | os.PathLike[str]) -> UnitMesh:
    """Read all triangles of a mesh file (.obj, .ply, .stl, .glb, .gltf; a glTF file's meshes where its nodes place them).

    Raises:
        DataError: The file is missing, malformed or of another format, a position is not finite, or there is no triangle with an
            area.
    """
    path = Path(path)
    try:
        positions, indices = _read(path)
    except SceneError as error:
        raise DataError(str(error)) from error
    return unit_mesh(positions, indices, path.name)


def unit_mesh(positions: np.ndarray, indices: np.ndarray, name: str = "mesh") -> UnitMesh:
    """Scale triangles into the unit cube.

    Args:
        positions: Vertices, [V, 3].
        indices: Vertices of the triangles, [T, 3].
        name: Name of the mesh, for messages.

    Raises:
        DataError: A vertex index is out of range, a position is not finite, or there is no triangle with an area.
    """
    indices = np.asarray(indices).reshape(-1, 3)
    positions = np.asarray(positions).reshape(-1, 3)
    positions = stored_positions(positions) if positions.dtype == np.float64 else positions.astype(np.float32)
    if not len(indices):
        raise DataError(f"{name}: has no triangles")
    if indices.min() < 0 or indices.max() >= len(positions):
        raise DataError(f"{name}: a triangle refers to a vertex that is not among the {len(positions)} given")
    finite = np.isfinite(positions).all(axis=1)
    if not finite.all():
        raise DataError(f"{name}: vertex {np.argmin(finite)} has a position that is not finite")

    # Drop vertices without a triangle; adding zero makes -0 and 0 equal
    used, corners = np.unique(indices, return_inverse=True)
    rows = np.ascontiguousarray(positions[used] + positions.dtype.type(0.0))
    _, first, merged = np.unique(rows.view([("", rows.dtype)] * 3).ravel(), return_index=True, return_inverse=True)
    vertices = rows[first].astype(np.float64)
    triangles = merged[corners].reshape(-1, 3).astype(np.int32)

    bounds = np.stack([vertices.min(axis=0), vertices.max(axis=0)])
    extent = float((bounds[1] - bounds[0]).max())
    if extent <= 0.0:
        raise DataError(f"{name}: all {len(indices)} triangles lie in one point, so there is no surface to learn")
    center = bounds.mean(axis=0)
    scale = FILL / extent
    unit = ((vertices - center) * scale + 0.5).astype(np.float32)
    a, b, c = (unit[triangles[:, corner]].astype(np.float64) for corner in range(3))
    if not np.linalg.norm(np.cross(b - a, c - a), axis=1).any():
        raise DataError(f"{name}: none of the {len(indices)} triangles has an area, so there is no surface to learn")
    digest = hashlib.blake2b(vertices.tobytes(), digest_size=16)
    digest.update(triangles.tobytes())
    return UnitMesh(name, unit, triangles, center, scale, bounds, digest.hexdigest())


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
        file = placed.shape.file if isinstance(placed.shape, Mesh) else None
        file_mesh = None if file is None else scene.meshes.get(file)
        mesh = world_mesh(placed.shape, file_mesh)
        positions.append(mesh.positions)
        indices.append(mesh.indices + count)
        count += len(mesh.positions)
    if not indices:
        raise SceneError(f"{path}: has no triangles")
    return np.concatenate(positions), np.concatenate(indices)
