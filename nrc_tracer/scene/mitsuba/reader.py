"""Reading a whole scene."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.mitsuba.bsdfs import BsdfReader
from nrc_tracer.scene.mitsuba.document import Document, read_document
from nrc_tracer.scene.mitsuba.emitters import read_emitter
from nrc_tracer.scene.mitsuba.groups import GroupReader
from nrc_tracer.scene.mitsuba.node import Node
from nrc_tracer.scene.mitsuba.sensors import read_integrator, read_sensor
from nrc_tracer.scene.mitsuba.shapes import read_shape
from nrc_tracer.scene.mitsuba.textures import TextureReader
from nrc_tracer.scene.model import (
    Camera,
    ConstantLight,
    EnvironmentMap,
    Film,
    Integrator,
    Light,
    Perspective,
    Sampler,
    Scene,
    SceneDescription,
    Shape,
)
from nrc_tracer.scene.transforms import matrix


def read_mitsuba(path: Path, parameters: Mapping[str, str] | None = None) -> tuple[SceneDescription, tuple[str, ...]]:
    """Read a scene as `read_mitsuba_scene` does, and return only the description and the warnings."""
    scene = read_mitsuba_scene(path, parameters)
    return scene.description, scene.warnings


def read_mitsuba_scene(path: Path, parameters: Mapping[str, str] | None = None) -> Scene:
    """Read a Mitsuba scene file (XML, format 0.5 to 3.x). Meshes and images that it names are not opened.

    Args:
        path: The file.
        parameters: Values for the `$name`s of the file, which override its <default>s.

    Returns:
        The scene. File names are relative to the folder of the file, or absolute. Its images are the generated ones, such as a
        sky, with names that begin with "#". It has one warning for everything that the file asks for and is not supported:
        the place, what it is, and what was done instead.

    Raises:
        SceneError: The file is missing, not well-formed, or asks for something impossible; the message begins with file and
            line.
    """
    path = Path(path)
    document = read_document(path, parameters)
    root = document.root
    textures = TextureReader(document)
    bsdfs = BsdfReader(document, textures)
    for child in root.children:
        # Without an id it cannot be referred to
        if child.tag == "bsdf" and child.id:
            bsdfs.name(child)
    groups = GroupReader(document, lambda node: read_shape(node, document, bsdfs))
    shapes: list[Shape] = []
    lights: list[Light] = []
    for child in root.children:
        _check_transforms(child)
        node = document.resolve(child)
        if node.plugin == "shapegroup":
            groups.name(node)
        elif node.plugin == "instance":
            shapes.append(groups.instance(node))
        elif node.tag == "shape":
            shapes += read_shape(node, document, bsdfs)
        elif node.tag == "emitter":
            light = read_emitter(node, document, textures)
            _check_one_environment(node, light, lights)
            lights += [] if light is None else [light]
        elif node.tag not in ("bsdf", "texture", "sensor", "integrator", "medium", "spectrum"):
            document.warn(node.place, f"{node} cannot be part of a scene; it is left out")
    root.ignore(*(child.name for child in root.children))
    document.warn_unknown(root)
    cameras, film, sampler = _sensors(document)
    description = SceneDescription(
        camera=next(iter(cameras.values())),
        cameras=cameras if len(cameras) > 1 else {},
        film=film,
        sampler=sampler,
        integrator=_integrator(document),
        textures=textures.textures,
        materials=bsdfs.materials,
        groups=groups.groups,
        shapes=tuple(shapes),
        lights=tuple(lights),
    )
    return Scene(description, images=document.images, source=path, warnings=tuple(document.warnings))


def _sensors(document: Document) -> tuple[dict[str, Camera], Film, Sampler]:
    """Return all cameras, by id or number, and the film and sampler of the first one."""
    sensors = document.children(document.root, "sensor")
    if not sensors:
        document.warn(document.root.place, "there is no sensor; one at the origin that looks along +z is used")
        return {"0": Perspective()}, Film(), Sampler()
    camera, film, sampler = read_sensor(sensors[0], document)
    cameras = {sensors[0].id or "0": camera}
    for index, node in enumerate(sensors[1:], start=1):
        camera, other_film, _ = read_sensor(node, document)
        if other_film != film:
            document.warn(node.place, f"{node} has a film of its own; that of the first sensor is used for all")
        name = node.id or str(index)
        cameras[name if name not in cameras else f"{name} ({index})"] = camera
    return cameras, film, sampler


def _integrator(document: Document) -> Integrator:
    integrators = document.children(document.root, "integrator")
    for other in integrators[1:]:
        document.warn(other.place, f"only one integrator is supported; this {other} is left out")
    return read_integrator(integrators[0], document) if integrators else Integrator()


def _check_transforms(node: Node) -> None:
    """Check that no transform is singular, so that errors have the line."""
    for name, item in node.properties.items():
        if item.tag == "transform":
            try:
                matrix(item.value)
            except SceneError as error:
                item.place.fail(f"{node}: {name}: {error}")
    for child in node.children:
        _check_transforms(child)


def _check_one_environment(node: Node, light: Light | None, lights: list[Light]) -> None:
    surrounding = (ConstantLight, EnvironmentMap)
    if isinstance(light, surrounding) and any(isinstance(other, surrounding) for other in lights):
        node.place.fail(f"{node}: a scene takes only one constant light or environment map")
