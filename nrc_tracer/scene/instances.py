"""Instances: every shape that is really there, those of groups once for each instance; and how many triangles that makes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec

from nrc_tracer.errors import SceneError, nearest
from nrc_tracer.scene.geometry import triangle_count, vertex_count
from nrc_tracer.scene.model import (
    GroupShape,
    Instance,
    NeuralSdf,
    Scene,
    SceneDescription,
    Shape,
    Sphere,
    TriangleMesh,
)


@dataclass(frozen=True)
class PlacedShape:
    """A shape where it is seen.

    Attributes:
        place: For messages: `$.shapes[3] ("pawn") -> $.groups.pawn[0]`.
        shape: The shape, its transform followed by the instance's.
        prototype: The shape as the scene states it: the same object for all instances of a group's shape.
    """

    place: str
    shape: GroupShape
    prototype: GroupShape


def shape_place(shape: Shape, index: int, path: str = "$.shapes") -> str:
    """A shape's place for messages: `$.shapes[3]`, and its name if it has one."""
    name = f" ({json.dumps(shape.name, ensure_ascii=False)})" if shape.name else ""
    return f"{path}[{index}]{name}"


def placed_shapes(description: SceneDescription) -> Iterator[PlacedShape]:
    """Yield every shape of the scene in order, in place of an instance the shapes of its group.

    Raises:
        SceneError: There is no such group.
    """
    for index, shape in enumerate(description.shapes):
        place = shape_place(shape, index)
        if not isinstance(shape, Instance):
            yield PlacedShape(place, shape, shape)
            continue
        if shape.group not in description.groups:
            raise SceneError(
                f'{place}.group: there is no group "{shape.group}"{nearest(shape.group, description.groups)}'
            )
        for number, member in enumerate(description.groups[shape.group]):
            placed = msgspec.structs.replace(member, to_world=(*member.to_world, *shape.to_world))
            yield PlacedShape(f"{place} -> {shape_place(member, number, f'group {shape.group}')}", placed, member)


@dataclass(frozen=True)
class GeometrySize:
    """How much geometry a scene has.

    Attributes:
        triangles: After instancing.
        vertices: After instancing.
        unique_triangles: Each mesh file, each mesh in place and each group's shape counted once.
        shapes: After instancing.
        spheres: Analytic ones among the shapes.
        neural: Neural SDFs among the shapes, whose triangles are not counted: they are made when the scene is rendered.
    """

    triangles: int = 0
    vertices: int = 0
    unique_triangles: int = 0
    shapes: int = 0
    spheres: int = 0
    neural: int = 0


def geometry_size(scene: Scene) -> GeometrySize:
    """Count triangles and vertices before and after instancing, without making any."""
    triangles = vertices = unique = shapes = spheres = neural = 0
    known: set = set()
    for placed in placed_shapes(scene.description):
        mesh = _file_mesh(placed.shape, scene.meshes)
        count = triangle_count(placed.shape, mesh)
        shapes += 1
        neural += isinstance(placed.shape, NeuralSdf)
        spheres += count == 0 and isinstance(placed.shape, Sphere)
        triangles += count
        vertices += vertex_count(placed.shape, mesh)
        key = getattr(placed.prototype, "file", None) or id(placed.prototype)
        if key not in known:
            known.add(key)
            unique += count
    return GeometrySize(triangles, vertices, unique, shapes, spheres, neural)


def _file_mesh(shape: GroupShape, meshes: Mapping[str, TriangleMesh]) -> TriangleMesh | None:
    file = getattr(shape, "file", None)
    return meshes.get(file) if file is not None else None
