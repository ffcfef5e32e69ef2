"""Expanding instances: every placed shape of a scene, and how many triangles there are in all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import msgspec
import numpy as np

from nrc_tracer.errors import SceneError, nearest
from nrc_tracer.scene.geometry import triangle_count, vertex_count, world_sphere
from nrc_tracer.scene.model import (
    GroupShape,
    Instance,
    Mesh,
    NeuralSdf,
    Scene,
    SceneDescription,
    Shape,
    Sphere,
    TriangleMesh,
)
from nrc_tracer.scene.transforms import matrix


@dataclass(frozen=True)
class PlacedShape:
    """A shape of the scene, or one of an instance's group.

    Attributes:
        place: Its place for messages: `$.shapes[3] ("pawn") -> $.groups.pawn[0]`.
        shape: The shape; its transform includes that of the instance.
        prototype: The shape as stated in the scene: the same object for all instances of a group.
    """

    place: str
    shape: GroupShape
    prototype: GroupShape

    @cached_property
    def to_world(self) -> np.ndarray:
        """The matrix of the shape's transform, [4, 4], float64."""
        return matrix(self.shape.to_world)

    @cached_property
    def sphere(self) -> tuple[np.ndarray, float, bool] | None:
        """The shape as an analytic sphere (`geometry.world_sphere`); None if it is not one."""
        return world_sphere(self.shape, self.to_world) if isinstance(self.shape, Sphere) else None


def shape_place(shape: Shape, index: int, path: str = "$.shapes") -> str:
    """Return a shape's place for messages: `$.shapes[3]`, and its name if it has one."""
    name = f" ({json.dumps(shape.name, ensure_ascii=False)})" if shape.name else ""
    return f"{path}[{index}]{name}"


def placed_shapes(description: SceneDescription) -> Iterator[PlacedShape]:
    """Yield every shape of the scene in order; for an instance, the shapes of its group.

    Raises:
        SceneError: An instance names a group that does not exist.
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
    """The amount of geometry in a scene, after instancing unless noted otherwise.

    Attributes:
        triangles: Number of triangles.
        vertices: Number of vertices.
        unique_triangles: Number of triangles before instancing: each mesh file and each shape counts once.
        shapes: Number of shapes.
        spheres: Number of analytic spheres among the shapes.
        neural: Number of neural SDFs among the shapes. Their triangles are not counted, as they are only made for rendering.
    """

    triangles: int = 0
    vertices: int = 0
    unique_triangles: int = 0
    shapes: int = 0
    spheres: int = 0
    neural: int = 0


def geometry_size(scene: Scene) -> GeometrySize:
    """Count triangles and vertices before and after instancing, without creating them."""
    triangles = vertices = unique = shapes = spheres = neural = 0
    known: set = set()
    for placed in placed_shapes(scene.description):
        mesh = file_mesh(placed.shape, scene.meshes)
        count = 0
        if placed.sphere is None:
            count = triangle_count(placed.shape, mesh)
            vertices += vertex_count(placed.shape, mesh)
        shapes += 1
        neural += isinstance(placed.shape, NeuralSdf)
        spheres += placed.sphere is not None
        triangles += count
        key = getattr(placed.prototype, "file", None) or id(placed.prototype)
        if key not in known:
            known.add(key)
            unique += count
    return GeometrySize(triangles, vertices, unique, shapes, spheres, neural)


def file_mesh(shape: GroupShape, meshes: Mapping[str, TriangleMesh]) -> TriangleMesh | None:
    """Return the triangles of the file that a shape names; None if it names none."""
    return meshes.get(shape.file) if isinstance(shape, Mesh) and shape.file is not None else None
