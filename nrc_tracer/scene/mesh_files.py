"""Mesh files: OBJ, PLY, STL and Mitsuba's serialized meshes."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

import numpy as np

from nrc_tracer.errors import SceneError, nearest
from nrc_tracer.files.reading import reading
from nrc_tracer.scene.model import TriangleMesh
from nrc_tracer.scene.obj_format import read_obj, read_obj_with_materials
from nrc_tracer.scene.obj_pools import ObjMesh
from nrc_tracer.scene.ply_format import read_ply
from nrc_tracer.scene.serialized_format import read_serialized
from nrc_tracer.scene.stl_format import read_stl

READERS = {".obj": read_obj, ".ply": read_ply, ".stl": read_stl}
"""Readers of the formats in which a file is one mesh, by extension."""
SERIALIZED = ".serialized"
_MEMBER = re.compile(r"(.*\.serialized)#(\d{1,9})", re.IGNORECASE | re.DOTALL)


def mesh_path(path: Path) -> Path:
    """Return the file that contains a mesh: the name without the number of a mesh in a serialized file."""
    member = _MEMBER.fullmatch(path.name)
    return path if member is None else path.with_name(member[1])


def load_mesh(path: Path, attributes: Collection[str] = ()) -> TriangleMesh:
    """Read a mesh file as one mesh, with its vertex normals and texture coordinates.

    Polygons are divided into triangles, also where they are not convex. Triangles without area are kept, so that triangle numbers
    are those of the file; no ray hits them. An OBJ, PLY or serialized file without vertex normals gets smooth ones, as in
    Mitsuba (`Mesh.face_normals` ignores them). An STL file has none and stays flat. Texture coordinates are those of the file
    (`Mesh.flip_v` inverts v).

    Args:
        path: A file with the extension .obj, .ply, .stl or .serialized; `name.serialized#2` is the third mesh in a serialized
            file.
        attributes: Names of attributes to read as well, which only PLY files have; those that the file lacks are left out.

    Raises:
        SceneError: The file is missing, truncated, malformed or of another format, an index is out of range, a
            position is not finite, or there is no triangle. The message names the file.
    """
    member = _MEMBER.fullmatch(path.name)
    path = mesh_path(path)
    serialized = path.suffix.lower() == SERIALIZED
    if not serialized and path.suffix.lower() not in READERS:
        raise SceneError(f'{path}: "{path.suffix}" is not a mesh format{nearest(path.suffix, (*READERS, SERIALIZED))}')
    if not path.is_file():
        raise SceneError(f"{path}: {'is not a file' if path.exists() else 'no such mesh file'}")
    with reading(path, SceneError):
        if serialized:
            mesh = read_serialized(path, int(member[2]) if member else 0)
        else:
            mesh = read_ply(path, attributes) if path.suffix.lower() == ".ply" else READERS[path.suffix.lower()](path)
    _check(path, mesh)
    return mesh


def load_obj(path: Path) -> ObjMesh:
    """Read an existing OBJ file, with the names of its materials. Errors as for `load_mesh`."""
    with reading(path, SceneError):
        found = read_obj_with_materials(path)
    _check(path, found.mesh)
    return found


def _check(path: Path, mesh: TriangleMesh) -> None:
    if not len(mesh.indices):
        raise SceneError(f"{path}: no triangles in the file")
    finite = np.isfinite(mesh.positions).all(axis=1)
    if not np.all(finite):
        raise SceneError(f"{path}: vertex {np.argmin(finite)} has a position that is not finite")
    if mesh.uvs is not None and not np.all(np.isfinite(mesh.uvs)):
        raise SceneError(f"{path}: a texture coordinate is not finite")
