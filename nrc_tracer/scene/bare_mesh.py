"""A mesh file alone as a scene: seen by a fitted camera under a soft sky."""

from __future__ import annotations

from pathlib import Path

from nrc_tracer.scene.fitted import fitted_camera, soft_sky
from nrc_tracer.scene.mesh_files import load_mesh
from nrc_tracer.scene.model import (
    Color,
    Diffuse,
    Film,
    Integrator,
    Mesh,
    Sampler,
    Scene,
    SceneDescription,
    Vec3,
    VertexColor,
)

GREY = 0.5
UP: dict[str, Vec3] = {".stl": (0.0, 0.0, 1.0)}
"""What is up in files of a kind: z in those made for printing, else y."""


def read_bare_mesh(path: Path) -> Scene:
    """Read an OBJ, PLY or STL file and make a scene of it: grey, or with its own colours; its `notes` say what was added.

    Raises:
        SceneError: As `load_mesh`.
    """
    mesh = load_mesh(path)
    up = UP.get(path.suffix.lower(), (0.0, 1.0, 0.0))
    textures, color, look = {}, GREY, "grey material"
    if mesh.colors is not None:
        color: Color = "vertex colors"
        textures, look = {color: VertexColor()}, "the file's vertex colours"
    low, high = mesh.positions.min(axis=0).tolist(), mesh.positions.max(axis=0).tolist()
    description = SceneDescription(
        camera=fitted_camera((tuple(low), tuple(high)), up=up),
        film=Film(width=1024, height=1024),
        sampler=Sampler(spp=64),
        integrator=Integrator(max_depth=8),
        textures=textures,
        materials={"surface": Diffuse(reflectance=color)},
        shapes=(Mesh(name=path.stem, file=path.name, material="surface"),),
        lights=(soft_sky(up=up),),
    )
    axis = "xyz"[up.index(1.0)]
    notes = [f"{path.name} is a mesh alone: a fitted camera ({axis} is up), a soft sky and {look} were added"]
    if path.suffix.lower() == ".obj" and _names_materials(path):
        notes.append(f"{path.name} names materials of a .mtl file; they are left out, and all of it has one material")
    return Scene(description, meshes={path.name: mesh}, notes=tuple(notes))


def _names_materials(path: Path) -> bool:
    with path.open("rb") as file:
        return any(line.startswith((b"usemtl", b"mtllib")) for line in file)
