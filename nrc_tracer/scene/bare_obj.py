"""An OBJ file as meshes of one material each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nrc_tracer.scene.creases import split_at_creases
from nrc_tracer.scene.mesh_files import load_obj
from nrc_tracer.scene.model import Color, Diffuse, Material, Mesh, Texture, TriangleMesh, VertexColor
from nrc_tracer.scene.obj_materials import GREY, ObjMaterialReader

PLAIN = "surface"
"""Name of the material of faces that have none from a .mtl file."""


class BareObj(NamedTuple):
    """The contents of an OBJ file and its material libraries. `look` describes where the materials come from, for a note."""

    shapes: tuple[Mesh, ...]
    meshes: dict[str, TriangleMesh]
    materials: dict[str, Material]
    textures: dict[str, Texture]
    images: dict[str, np.ndarray]
    warnings: tuple[str, ...]
    look: str


def read_bare_obj(path: Path) -> BareObj:
    """Read an OBJ file and its material libraries, as one mesh per material and one for all faces without a material.

    The latter is grey, or has the file's vertex colours. Corners without a `vn` get normals that are smooth within their
    smoothing group and up to an angle (see `split_at_creases`).

    Raises:
        SceneError: As `load_mesh` and `read_mtl`.
    """
    obj = load_obj(path)
    if np.any(obj.without_normal):
        obj = replace(obj, mesh=split_at_creases(obj.mesh, obj.without_normal, obj.smoothing))
    reader = ObjMaterialReader(path.parent, textured=obj.mesh.uvs is not None)
    exists = [reader.add_library(f"{path}:{line}", text) for text, line in obj.libraries.items()]
    # Gather the triangles of each material; triangles of unknown materials count as having none
    used = np.unique(obj.material_of)
    emission: dict[str, Color | None] = {}
    group_of = np.full(len(obj.materials) + 1, -1)
    for index in used[used >= 0].tolist():
        name = obj.materials[index]
        if name in reader.found:
            group_of[index] = index
            label, emission[name] = reader.read(name)
        elif any(exists) or not obj.libraries:
            why = "is not in the material library" if any(exists) else "is unknown without an mtllib"
            look = "a grey one is used" if obj.mesh.colors is None else "the file's vertex colours are used"
            reader.warn(f'{path}: the material "{name[:80]}" {why}; {look}')
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


def _plain(mesh: TriangleMesh, reader: ObjMaterialReader) -> str:
    """Add the material of faces without one, and return its name."""
    name = PLAIN
    while name in reader.materials:
        name += "_"
    color: Color = GREY if mesh.colors is None else reader.texture(VertexColor(), "vertex colors")
    reader.materials[name] = Diffuse(reflectance=color)
    return name


def _part(mesh: TriangleMesh, chosen: np.ndarray) -> TriangleMesh:
    """Return the chosen triangles, with only the vertices that they use."""
    indices = mesh.indices[chosen]
    vertices, inverse = np.unique(indices, return_inverse=True)
    normals, uvs, colors = (None if rows is None else rows[vertices] for rows in (mesh.normals, mesh.uvs, mesh.colors))
    return TriangleMesh(
        mesh.positions[vertices],
        inverse.reshape(indices.shape).astype(np.int32),
        normals,
        uvs,
        colors,
        mesh.computed_normals,
    )
