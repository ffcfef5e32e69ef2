"""A mesh file as a scene, with a fitted camera and a soft sky."""

from __future__ import annotations

from pathlib import Path

import msgspec

from nrc_tracer.scene.bare_obj import PLAIN, BareObj, read_bare_obj
from nrc_tracer.scene.creases import split_at_creases
from nrc_tracer.scene.fitted import Part, fitted_camera, soft_sky
from nrc_tracer.scene.lit import is_lit
from nrc_tracer.scene.mesh_files import load_mesh
from nrc_tracer.scene.model import (
    Diffuse,
    Film,
    Integrator,
    Material,
    Mesh,
    Sampler,
    Scene,
    SceneDescription,
    Texture,
    Vec3,
    VertexColor,
)
from nrc_tracer.scene.obj_materials import GREY

UP: dict[str, Vec3] = {".stl": (0.0, 0.0, 1.0)}
"""Upward direction by extension: z in files for 3D printing, y in all others."""


def read_bare_mesh(path: Path) -> Scene:
    """Read an OBJ, PLY or STL file as a scene, with an OBJ's materials, with the file's vertex colours, or grey.

    A mesh without vertex normals is smooth except at creases, unlike in other scenes, where it is smooth everywhere. The scene's
    `notes` say what was added.

    Raises:
        SceneError: As `load_mesh`.
    """
    up = UP.get(path.suffix.lower(), (0.0, 1.0, 0.0))
    obj = read_bare_obj(path) if path.suffix.lower() == ".obj" else _one_material(path)
    description = SceneDescription(
        camera=fitted_camera([Part(mesh) for mesh in obj.meshes.values()], up=up),
        film=Film(width=1024, height=1024),
        sampler=Sampler(spp=64),
        integrator=Integrator(max_depth=8),
        textures=obj.textures,
        materials=obj.materials,
        shapes=obj.shapes,
    )
    lit = is_lit(Scene(description, obj.meshes, obj.images))
    if not lit:
        description = msgspec.structs.replace(description, lights=(soft_sky(up=up),))
    axis = "xyz"[up.index(1.0)]
    colored = any(isinstance(texture, VertexColor) for texture in obj.textures.values())
    look = "the file's vertex colours" if colored else "grey material"
    added = [f"a fitted camera ({axis} is up)"]
    added += [] if lit else ["a soft sky"]
    added += [] if obj.look else [look]
    was = "were" if len(added) > 1 else "was"
    listed = " and ".join([", ".join(added[:-1]), added[-1]] if len(added) > 1 else added)
    note = f"{path.name} contains only a mesh: {listed} {was} added" + (f"; it has {obj.look}" if obj.look else "")
    return Scene(description, obj.meshes, obj.images, path, obj.warnings, (note,))


def _one_material(path: Path) -> BareObj:
    """Read a file without materials: grey, or with its vertex colours."""
    mesh = load_mesh(path)
    if mesh.computed_normals:
        mesh = split_at_creases(mesh)
    colored = mesh.colors is not None
    textures: dict[str, Texture] = {"vertex colors": VertexColor()} if colored else {}
    materials: dict[str, Material] = {PLAIN: Diffuse(reflectance="vertex colors" if colored else GREY)}
    shapes = (Mesh(name=path.stem, file=path.name, material=PLAIN),)
    return BareObj(shapes, {path.name: mesh}, materials, textures, {}, (), "")
