"""A whole glTF file as a scene."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from nrc_tracer.scene.enclosure import glowing_enclosure
from nrc_tracer.scene.fitted import Part, fitted_camera, soft_sky
from nrc_tracer.scene.gltf.cameras import DEFAULT_ASPECT, film_of, read_camera
from nrc_tracer.scene.gltf.document import Document
from nrc_tracer.scene.gltf.images import ImageReader
from nrc_tracer.scene.gltf.lights import read_environment, read_light
from nrc_tracer.scene.gltf.materials import MaterialReader
from nrc_tracer.scene.gltf.meshes import MeshReader, Primitive
from nrc_tracer.scene.gltf.nodes import PlacedNode, as_transform, is_flat, walk
from nrc_tracer.scene.gltf.textures import TextureReader
from nrc_tracer.scene.lit import is_lit
from nrc_tracer.scene.model import (
    Camera,
    GroupShape,
    Instance,
    Light,
    Mesh,
    Scene,
    SceneDescription,
    Shape,
    Transform,
    TriangleMesh,
)
from nrc_tracer.scene.names import unique_name

SAME_SIZE = 0.01
"""Difference of a node's scale from 1 from which on a warning says that it does not change the thickness of volumes."""
INSTANCED = 256
"""Number of triangles from which on a mesh of several nodes is instanced; smaller ones are repeated."""

MOST_NAMES = 4
"""Largest number of shapes that a note names."""


class GltfScene(NamedTuple):
    """The result of `read_gltf`.

    Attributes:
        description: The scene. Its mesh files are keys of `meshes`, and the files of its bitmaps keys of `images`. Only the file
            of an environment map lies beside the glTF file.
        meshes: Triangles, by names such as `scene.glb#mesh3.0` (primitive 0 of mesh 3).
        images: Pixels, by names such as `scene.glb#image2`.
        warnings: What is not supported: file, place, and what was done instead.
        notes: What was added because the file leaves it open, such as a camera or a light.
    """

    description: SceneDescription
    meshes: dict[str, TriangleMesh]
    images: dict[str, np.ndarray]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]


def read_gltf(path: str | Path) -> GltfScene:
    """Read a glTF 2.0 file, JSON or GLB, with the buffers and images in it and beside it.

    The default scene is read: its cameras, its lights (and the environment map NAME.sky.exr beside the file), and its meshes. A
    large mesh is instanced if several nodes share it. A scene without a camera gets a fitted one. A scene that its own light
    does not light (`is_lit`) gets a soft sky; where the scene shuts the sky out, the shapes around it glow (`glowing_enclosure`).
    Animations, skins and morph targets are left out: meshes have their modelled shape.

    Raises:
        SceneError: Something is missing, malformed, or requires an extension that is not supported; the message has file and
            place, as in `$.meshes[3].primitives[0].attributes.POSITION`.
    """
    document = Document(Path(path))
    if document.count("animations"):
        document.warn("$.animations", "animations are not supported; the nodes' own transforms are used")
    images = ImageReader(document)
    textures = TextureReader(document, images)
    materials = MaterialReader(document, textures)
    meshes = MeshReader(document, materials)
    cameras: dict[str, tuple[Camera, float]] = {}
    lights: list[Light] = []
    placed: dict[int, list[PlacedNode]] = {}
    for node in walk(document):
        camera = node.entry.reference("camera", "cameras")
        if camera is not None:
            entry = document.get("cameras", camera)
            label = entry.name or node.entry.name or f"camera {camera}"
            cameras[unique_name(label, cameras)] = read_camera(entry, node)
        light = read_light(node, document)
        lights += [] if light is None else [light]
        mesh = node.entry.reference("mesh", "meshes")
        if mesh is not None:
            _warn_unsupported(node)
            if is_flat(node.to_world):
                node.entry.warn("the transform is singular; the mesh is left out")
            else:
                placed.setdefault(mesh, []).append(node)
    environment = read_environment(document)
    lights += [] if environment is None else [environment]
    shapes: list[Shape] = []
    groups: dict[str, tuple[GroupShape, ...]] = {}
    for index, nodes in placed.items():
        shapes += _shapes(document, index, nodes, meshes.read(index), groups)
    if not shapes:
        why = document.warnings[0].removeprefix(f"{document.path}: ") if document.warnings else ""
        more = f" (and {len(document.warnings) - 1} more)" if len(document.warnings) > 1 else ""
        document.root.fail("the default scene has no triangles" + (f"; {why}{more}" if why else ""))
    notes = []
    views = {name: camera for name, (camera, _) in cameras.items()}
    film = film_of(next((aspect for _, aspect in cameras.values()), DEFAULT_ASPECT))
    if not views:
        views["fitted"] = fitted_camera(_parts(placed, meshes))
        notes.append(f"{document.path}: there is no camera; one that sees everything was added")
    description = SceneDescription(
        camera=next(iter(views.values())),
        cameras=views,
        film=film,
        textures=textures.textures,
        materials=materials.materials,
        groups=groups,
        shapes=tuple(shapes),
        lights=tuple(lights),
    )
    scene = Scene(description, meshes.meshes, images.images)
    if not is_lit(scene):
        emitting = any(primitive.material.emission is not None for index in placed for primitive in meshes.read(index))
        why = "the file's own light does not light the scene" if lights or emitting else "there is no light"
        enclosure = glowing_enclosure(scene) if cameras else None  # a fitted camera stands under the sky
        if enclosure is None:
            description = msgspec.structs.replace(description, lights=(*lights, soft_sky()))
            notes.append(f"{document.path}: {why}; a soft sky was added")
        else:
            description = enclosure.description
            around = ", ".join(f'"{name}"' for name in enclosure.names[:MOST_NAMES])
            more = f" and {len(enclosure.names) - MOST_NAMES} more" if len(enclosure.names) > MOST_NAMES else ""
            notes.append(
                f"{document.path}: {why}, and a sky would not reach what the camera sees; the shapes around it ({around}{more}) "
                "glow in their own colours"
            )
    return GltfScene(description, meshes.meshes, images.images, tuple(document.warnings), tuple(notes))


def _shapes(
    document: Document,
    index: int,
    nodes: list[PlacedNode],
    primitives: tuple[Primitive, ...],
    groups: dict[str, tuple[GroupShape, ...]],
) -> list[Shape]:
    """Place a mesh at its nodes. An emitting mesh is never instanced, as each of its triangles is a separate light."""
    if not primitives:
        return []
    if any(primitive.material.has_thickness for primitive in primitives):
        for node in nodes:
            scale = float(np.cbrt(abs(np.linalg.det(node.to_world[:3, :3]))))
            if abs(scale - 1.0) > SAME_SIZE:
                node.entry.warn(f"the scale of {scale:.3g} is not applied to the thickness of the volume in its mesh")
    label = document.get("meshes", index).name or f"mesh {index}"
    emits = any(primitive.material.emission is not None for primitive in primitives)
    if len(nodes) > 1 and not emits and sum(primitive.triangles for primitive in primitives) >= INSTANCED:
        group = unique_name(label, groups)
        groups[group] = tuple(_mesh(primitive, label, ()) for primitive in primitives)
        return [Instance(group=group, name=node.entry.name, to_world=as_transform(node.to_world)) for node in nodes]
    return [
        _mesh(primitive, node.entry.name or label, as_transform(node.to_world))
        for node in nodes
        for primitive in primitives
    ]


def _mesh(primitive: Primitive, name: str, to_world: Transform) -> Mesh:
    material = primitive.material
    return Mesh(name=name, file=primitive.mesh, material=material.name, emission=material.emission, to_world=to_world)


def _warn_unsupported(node: PlacedNode) -> None:
    if "skin" in node.entry:
        node.entry.warn("skins are not supported; the mesh has its modelled shape", "skin")
    if node.entry.extension("EXT_mesh_gpu_instancing") is not None:
        node.entry.warn("EXT_mesh_gpu_instancing is not supported; the mesh is placed once")


def _parts(placed: dict[int, list[PlacedNode]], meshes: MeshReader) -> list[Part]:
    """Return all placed meshes."""
    return [
        Part(meshes.meshes[primitive.mesh], node.to_world)
        for index, nodes in placed.items()
        for primitive in meshes.read(index)
        for node in nodes
    ]
