"""Shapes, groups of shapes, and instances of groups."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from nrc_tracer.scene.model.base import Color, Model, Positive, Vec2, Vec3
from nrc_tracer.scene.model.transforms import Transform


class ShapeModel(Model):
    """The fields that all shapes share.

    `material` names one of the scene's materials; without it the shape is diffuse grey. `emission` is the emitted radiance, on
    the side that the normal points to; `flip_normals` turns the normals round.
    """

    name: str = ""
    material: str | None = None
    emission: Color | None = None
    to_world: Transform = ()
    flip_normals: bool = False


class Mesh(ShapeModel, tag="mesh"):
    """Triangles, either from a `file` or given in place by `positions` and `indices`.

    The file is OBJ, PLY, STL, or Mitsuba's serialized format, in which `name.serialized#2` is the third mesh. A mesh without
    vertex normals gets smooth ones, except from an STL file, which stays flat. `face_normals` makes any mesh flat. `flip_v`
    replaces v by 1 - v. `colors` are linear RGB, or RGB and opacity, for each position (see `VertexColor`).
    `color_attribute` names the attribute of a PLY file, such as `vertex_Col` or `face_color`, that replaces its vertex colours.
    """

    file: str | None = None
    positions: tuple[Vec3, ...] | None = None
    normals: tuple[Vec3, ...] | None = None
    uvs: tuple[Vec2, ...] | None = None
    colors: tuple[tuple[float, ...], ...] | None = None
    indices: tuple[tuple[int, int, int], ...] | None = None
    face_normals: bool = False
    flip_v: bool = False
    color_attribute: str | None = None


class Sphere(ShapeModel, tag="sphere"):
    """An analytic sphere. Its transform must scale uniformly."""

    center: Vec3 = (0.0, 0.0, 0.0)
    radius: Positive = 1.0


class Rectangle(ShapeModel, tag="rectangle"):
    """The square [-1, 1]^2 in the xy plane. The normal is +z; uv runs from (0, 0) at (-1, -1) to (1, 1) at (1, 1)."""


class Cube(ShapeModel, tag="cube"):
    """The cube [-1, 1]^3. On each face uv runs from (0, 0) to (1, 1)."""


class Disk(ShapeModel, tag="disk"):
    """The unit disk in the xy plane. The normal is +z; uv is (r, phi / 2 pi)."""


class Cylinder(ShapeModel, tag="cylinder"):
    """An open cylinder around the segment from `p0` to `p1`. Its normals point outwards."""

    p0: Vec3 = (0.0, 0.0, 0.0)
    p1: Vec3 = (0.0, 0.0, 1.0)
    radius: Positive = 1.0


class NeuralSdf(ShapeModel, kw_only=True, tag="neural-sdf"):
    """The surface of a signed distance function that a network has learnt, from a snapshot `file` of `nrc-tracer fit sdf`.

    It lies where the original mesh lay, and its normals point outwards. Before rendering it is converted to triangles, with
    `resolution` cells along its longest side. It has no texture coordinates.
    """

    file: str
    resolution: Annotated[int, Meta(ge=8, le=2048)] = 256


class Instance(Model, tag="instance"):
    """A copy of all shapes of a group of the scene, placed by `to_world` after their own transforms."""

    group: str
    name: str = ""
    to_world: Transform = ()


GroupShape = Mesh | Sphere | Rectangle | Cube | Disk | Cylinder | NeuralSdf
Shape = GroupShape | Instance
