"""An OBJ file alone, as meshes of one material each."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from nrc_tracer.scene.mesh_files import load_obj
from nrc_tracer.scene.model import Color, Diffuse, Material, Mesh, Texture, TriangleMesh, VertexColor
from nrc_tracer.scene.obj_materials import GREY, ObjMaterialReader

PLAIN = "surface"
"""The material of what has none in a .mtl file."""


class BareObj(NamedTuple):
    """What a scene takes from an OBJ file and its libraries. `look` says where its materials are from, for a note."""

    shapes: tuple[Mesh, ...]
    meshes: dict[str, TriangleMesh]
    materials: dict[str, Material]
    textures: dict[str, Texture]
    images: dict[str, np.ndarray]
    warnings: tuple[str, ...]
    look: str


def read_bare_obj(path: Path) -> BareObj:
    """Read an OBJ file and its material libraries: one mesh for each material, and one for all faces without.

    Those are grey, or have the file's vertex colours.

    Raises:
        SceneError: As `load_mesh` and `read_mtl`.
    """
    obj = load_obj(path)
    reader = ObjMaterialReader(path.parent, textured=obj.mesh.uvs is not None)
    there = [reader.add_library(f"{path}:{line}", text) for text, line in obj.libraries.items()]
    # Gather the triangles of each material; those of unknown ones have none
    used = np.unique(obj.material_of)
    emission: dict[str, Color | None] = {}
    group_of = np.full(len(obj.materials) + 1, -1)
    for index in used[used >= 0].tolist():
        name = obj.materials[index]
        if name in reader.found:
            group_of[index] = index
            label, emission[name] = reader.read(name)
        elif any(there) or not obj.libraries:
            where = "in the material library" if any(there) else "as there is no mtllib"
            reader.warn(f'{path}: there is no material "{name[:80]}" {where}; {_plain_look(obj.mesh)} is used')
    groups = group_of[obj.material_of]
    shapes, meshes = [], {}
    order = np.argsort(groups, kind="stable")
    numbers, begins = np.unique(groups[order], return_index=True)
    for group, chosen in zip(numbers.tolist(), np.split(order, begins[1:]), strict=True):
        name = obj.materials[group] if group >= 0 else PLAIN
        whole = len(numbers) == 1
        key = path.name if whole else f"{path.name}#{name if group >= 0 else ''}"
        meshes[key] = obj.mesh if whole else _part(obj.mesh, chosen)
        if group >= 0:
            label, emitted = name, emission[name]
        else:
            label, emitted = _plain(obj.mesh, reader), None
        shapes.append(
            Mesh(name=path.stem if whole else name, file=key, material=label, emission=emitted, flip_v=group >= 0)
        )
    look = f"{len(emission)} material{'s' if len(emission) != 1 else ''} of its .mtl" if emission else ""
    return BareObj(
        tuple(shapes), meshes, reader.materials, reader.textures, reader.images, tuple(reader.warnings), look
    )


def _plain_look(mesh: TriangleMesh) -> str:
    return "grey" if mesh.colors is None else "the file's vertex colours"


def _plain(mesh: TriangleMesh, reader: ObjMaterialReader) -> str:
    name = PLAIN
    while name in reader.materials:
        name += "_"
    color: Color = GREY if mesh.colors is None else reader.texture(VertexColor(), "vertex colors")
    reader.materials[name] = Diffuse(reflectance=color)
    return name


def _part(mesh: TriangleMesh, chosen: np.ndarray) -> TriangleMesh:
    """The chosen triangles, with the vertices they have."""
    indices = mesh.indices[chosen]
    vertices, inverse = np.unique(indices, return_inverse=True)
    rest = (None if rows is None else rows[vertices] for rows in (mesh.normals, mesh.uvs, mesh.colors))
    return TriangleMesh(mesh.positions[vertices], inverse.reshape(indices.shape).astype(np.int32), *rest)
