"""Reading shapes."""

from __future__ import annotations

import msgspec

from nrc_tracer.errors import nearest
from nrc_tracer.scene.mitsuba.bsdfs import BsdfReader
from nrc_tracer.scene.mitsuba.document import Document
from nrc_tracer.scene.mitsuba.node import Node
from nrc_tracer.scene.model import Color, Cube, Cylinder, Disk, GroupShape, Mesh, Rectangle, Sphere

SUPPORTED = ("obj", "ply", "serialized", "sphere", "rectangle", "cube", "disk", "cylinder", "merge")
GROUPS = ("shapegroup", "instance")


def read_shape(node: Node, document: Document, bsdfs: BsdfReader) -> list[GroupShape]:
    """Read a shape other than a group or an instance.

    Returns:
        One shape; none, with a warning, if it is not supported; several for a `merge`.

    Raises:
        SceneError: A parameter is malformed or missing.
    """
    if node.plugin == "merge":
        return [shape for child in document.children(node, "shape") for shape in read_shape(child, document, bsdfs)]
    if node.plugin not in SUPPORTED:
        hint = nearest(node.plugin, (*SUPPORTED, *GROUPS))
        document.warn(node.place, f"{node} is not supported{hint}; it is left out")
        return []
    node.ignore("silhouette_sampling_weight")
    common = {
        "name": node.id,
        "material": _material(node, document, bsdfs),
        "emission": _emission(node, document, bsdfs),
        "to_world": node.transform(),
        "flip_normals": node.boolean("flip_normals", False),
    }
    shape: GroupShape
    match node.plugin:
        case "obj" | "ply":
            shape = Mesh(
                file=document.file_name(node),
                face_normals=node.boolean("face_normals", False),
                flip_v=node.boolean("flip_tex_coords", node.plugin == "obj"),
            )
            _check_extension(node, document)
        case "serialized":
            shape = Mesh(file=_serialized_file(node, document), face_normals=node.boolean("face_normals", False))
            _check_extension(node, document)
        case "sphere":
            center = node.vector("center", (0.0, 0.0, 0.0))
            shape = Sphere(center=center, radius=_radius(node))
        case "cylinder":
            start, end = node.vector("p0", (0.0, 0.0, 0.0)), node.vector("p1", (0.0, 0.0, 1.0))
            if start == end:
                node.place.fail(f"{node}: p0 and p1 are the same point")
            shape = Cylinder(p0=start, p1=end, radius=_radius(node))
        case "rectangle":
            shape = Rectangle()
        case "cube":
            shape = Cube()
        case _:
            shape = Disk()
    document.warn_unknown(node)
    shape = msgspec.structs.replace(shape, **common)
    attribute = _color_attribute(node, shape, document, bsdfs)
    return [shape if attribute is None else msgspec.structs.replace(shape, color_attribute=attribute)]


def _color_attribute(node: Node, shape: GroupShape, document: Document, bsdfs: BsdfReader) -> str | None:
    """Return the attribute that the material of a mesh looks up, if there is one. Of several, the first one is used."""
    attributes = bsdfs.attributes(shape.material) if shape.material is not None else []
    if not attributes:
        return None
    if not isinstance(shape, Mesh):
        document.warn(node.place, f'{node} has no attribute "{attributes[0]}"; white is used in its place')
        return None
    if len(attributes) > 1:
        others = ", ".join(f'"{name}"' for name in attributes[1:])
        document.warn(
            node.place, f'{node}: a mesh can have one attribute; "{attributes[0]}" is used in place of {others}'
        )
    return attributes[0]


def _material(node: Node, document: Document, bsdfs: BsdfReader) -> str:
    nested = document.children(node, "bsdf")
    if len(nested) > 1:
        nested[1].place.fail(f"{node} has more than one bsdf")
    node.ignore("bsdf", *(child.name for child in node.children if document.resolve(child).tag == "bsdf"))
    return bsdfs.name(nested[0]) if nested else bsdfs.default_material(emits=document.children(node, "emitter") != [])


def _emission(node: Node, document: Document, bsdfs: BsdfReader) -> Color | None:
    emission = None
    for child in node.children:
        target = document.resolve(child)
        if target.tag == "medium":
            document.warn(child.place, f"{target} in {node} is not supported yet; the shape is left empty")
            node.ignore(child.name)
        elif target.tag == "sensor":
            document.warn(child.place, f"{target} in {node} is not supported; it is left out")
            node.ignore(child.name)
        elif target.tag == "emitter":
            node.ignore(child.name)
            if target.plugin != "area":
                document.warn(target.place, f"{target} in {node} is not supported; the shape does not emit light")
                continue
            if emission is not None:
                child.place.fail(f"{node} has more than one emitter")
            target.ignore("sampling_weight")
            emission = bsdfs.textures.color(target, "radiance", 1.0, emissive=True)
            document.warn_unknown(target)
    return emission


def _radius(node: Node) -> float:
    radius = node.number("radius", 1.0)
    if radius <= 0.0:
        node.properties["radius"].place.fail(f"{node}: radius must be > 0, it is {radius:g}")
    return radius


def _serialized_file(node: Node, document: Document) -> str:
    index = node.integer("shape_index", 0)
    if index < 0:
        node.properties["shape_index"].place.fail(f"{node}: shape_index must not be negative, it is {index}")
    file = document.file_name(node)
    return f"{file}#{index}" if index else file


def _check_extension(node: Node, document: Document) -> None:
    """Check that the extension matches the plugin: the loader goes by the extension, Mitsuba by the plugin."""
    item = node.properties["filename"]
    if not str(item.value).lower().endswith(f".{node.plugin}"):
        item.place.fail(f'{node}: the name "{item.value}" must end in .{node.plugin}')
