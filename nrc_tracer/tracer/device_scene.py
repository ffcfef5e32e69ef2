"""Converts a loaded scene to the record that kernels read: geometry, materials, textures and lights on a device."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import warp as wp

from nrc_tracer.device.structs import zero_structs
from nrc_tracer.errors import DeviceError, SceneError
from nrc_tracer.scene.coordinates import Box, box_of, placed_box, scene_origin
from nrc_tracer.scene.geometry import place_mesh, tessellate
from nrc_tracer.scene.instances import PlacedShape, file_mesh, geometry_size, placed_shapes
from nrc_tracer.scene.memory import check_memory
from nrc_tracer.scene.model import GroupShape, Mesh, Scene, TriangleMesh
from nrc_tracer.tracer.accel.embree import EmbreeScene
from nrc_tracer.tracer.accel.intersect import AccelHandles, SphereRecord
from nrc_tracer.tracer.environment_table import environment_beside
from nrc_tracer.tracer.interaction import HAS_COLOR, HAS_UV, INWARD, SMOOTH, ShapeRecord, Surfaces, TriangleRecord
from nrc_tracer.tracer.scene_record import SceneRecord
from nrc_tracer.tracer.scene_tables import Outline, PlacedEmitter, SceneTables
from nrc_tracer.tracer.vocabulary import Accel

Result = TypeVar("Result")

FEW_SPHERES = 16
"""Largest number of spheres that are tested one by one, which is faster than walking a tree."""


@dataclass(frozen=True)
class Emitter:
    """A shape that emits light.

    Attributes:
        shape: Number of the shape.
        first: Number of its first triangle, or of its sphere.
        count: Number of its triangles; None for an analytic sphere.
    """

    shape: int
    first: int
    count: int | None


@dataclass(frozen=True)
class LocalMesh:
    """Triangles before their transform and the box around them, if there are any, whether they are smooth, and the offsets of
    their texture coordinates and colours.
    """

    mesh: TriangleMesh
    box: Box | None
    smooth: bool
    first_uv: int
    first_color: int


class Geometry:
    """All shapes of a scene in world space, instances one by one: the triangles in one set of buffers, the spheres apart.

    Texture coordinates and colours of a mesh with several instances are stored once. All positions are relative to `origin`.

    Args:
        scene: The scene.

    Attributes:
        origin: The point of world space that is the origin of all positions, float64 [3] (see `scene_origin`).
        placed: The shapes, each with its transform to world space.
        shapes: The records of the shapes for kernels.
        spheres: The records of the analytic spheres.
        emitters: The shapes that emit light.
        positions, normals: Positions and normals of all vertices, [vertex_count, 3], float32.
        uvs, colors: Texture coordinates, [uv_count, 2], and vertex colours, [color_count, 4], float32.
        triangles: Vertices of each triangle, [triangle_count, 3], int32.
        owners: Shape of each triangle, [triangle_count], int32.
    """

    def __init__(self, scene: Scene) -> None:
        self.placed: list[GroupShape] = []
        self.shapes: list[ShapeRecord] = []
        self.spheres: list[SphereRecord] = []
        self.emitters: list[Emitter] = []
        self._locals: dict[object, LocalMesh] = {}
        self._positions: list[np.ndarray] = []
        self._normals: list[np.ndarray] = []
        self._uvs: list[np.ndarray] = []
        self._colors: list[np.ndarray] = []
        self._triangles: list[np.ndarray] = []
        self._owners: list[tuple[int, int]] = []  # number of a shape, and of its triangles
        self._vertex_count = self._triangle_count = self._uv_count = self._color_count = 0
        shapes = list(placed_shapes(scene.description))
        boxes = [self._at_place(placed, self._box, placed, scene) for placed in shapes]
        self.origin = scene_origin(box for box in boxes if box is not None)
        for number, placed in enumerate(shapes):
            self._at_place(placed, self._add, number, placed, scene)
            self.placed.append(placed.shape)
        self.positions = self._join(self._positions, np.float32, 3)
        self.normals = self._join(self._normals, np.float32, 3)
        self.uvs = self._join(self._uvs, np.float32, 2)
        self.colors = self._join(self._colors, np.float32, 4)
        self.triangles = self._join(self._triangles, np.int32, 3)
        self.owners = np.repeat(
            np.array([number for number, _ in self._owners], np.int32), [count for _, count in self._owners]
        )
        del self._positions, self._normals, self._uvs, self._colors, self._triangles, self._owners, self._locals

    def box(self) -> Box:
        """Lower and upper corner of the box around all shapes, relative to `origin`; both 0 if there are no shapes."""
        low = [self.positions.min(axis=0)] if len(self.positions) else []
        high = [self.positions.max(axis=0)] if len(self.positions) else []
        low += [np.array(s.center) - s.radius for s in self.spheres]
        high += [np.array(s.center) + s.radius for s in self.spheres]
        if not low:
            return np.zeros(3), np.zeros(3)
        return np.min(low, axis=0).astype(np.float64), np.max(high, axis=0).astype(np.float64)

    def bounds(self) -> tuple[np.ndarray, float]:
        """Centre and radius of a sphere around all shapes."""
        low, high = self.box()
        return 0.5 * (low + high), float(0.5 * np.linalg.norm(high - low)) or 1.0

    def outline(self) -> Outline:
        """What materials and lights need to know."""
        emitters = []
        for emitter in self.emitters:
            if emitter.count is None:
                sphere = self.spheres[emitter.first]
                emitters.append(
                    PlacedEmitter(emitter.shape, emitter.first, center=np.array(sphere.center), radius=sphere.radius)
                )
            else:
                emitters.append(PlacedEmitter(emitter.shape, emitter.first, faces=self.emitting_faces(emitter)))
        flags = np.array([record.flags for record in self.shapes], np.int32)
        return Outline(self.origin, *self.bounds(), flags, tuple(emitters))

    def emitting_faces(self, emitter: Emitter) -> tuple[np.ndarray, np.ndarray]:
        """Corners of an emitter's triangles, float64 [count, 3, 3], and unit normals on the side that emits, [count, 3].

        The normal is zero where the vertex normals of a triangle disagree on the side.
        """
        triangles = self.triangles[emitter.first : emitter.first + (emitter.count or 0)]
        normals = face_normals(self.positions, triangles)
        if self.shapes[emitter.shape].flags & int(SMOOTH):
            heights = np.einsum("ijk,ik->ij", self.normals[triangles], normals)
            normals *= (heights >= 0.0).all(axis=1)[:, None] - (heights <= 0.0).all(axis=1)[:, None].astype(np.float64)
        return self.positions[triangles].astype(np.float64), normals

    def upload(self, device: str) -> Surfaces:
        """Copy triangles and shapes to a device."""
        surfaces = Surfaces()
        records = zero_structs(TriangleRecord, len(self.triangles))
        corners = self.positions[self.triangles]
        for i, name in enumerate(("p0", "p1", "p2")):
            records[name] = corners[:, i]
        records["n"] = face_normals(self.positions, self.triangles)
        records["corners"] = self.triangles
        records["shape"] = self.owners
        surfaces.triangles = wp.array(records, dtype=TriangleRecord, device=device)
        surfaces.normals = wp.array(self.normals, dtype=wp.vec3, device=device)
        surfaces.uvs = wp.array(self.uvs, dtype=wp.vec2, device=device)
        surfaces.colors = wp.array(self.colors, dtype=wp.vec4, device=device)
        surfaces.shapes = wp.array(self.shapes or [ShapeRecord()], dtype=ShapeRecord, device=device)
        return surfaces

    @staticmethod
    def _at_place(placed: PlacedShape, act: Callable[..., Result], *arguments: object) -> Result:
        """Call a function; the message of an error begins with the shape's place."""
        try:
            return act(*arguments)
        except SceneError as error:
            raise SceneError(f"{placed.place}: {error}") from None

    def _box(self, placed: PlacedShape, scene: Scene) -> Box | None:
        """The box around a shape in world space; None for a mesh without vertices."""
        if placed.sphere is not None:
            center, radius, _ = placed.sphere
            return center - radius, center + radius
        box = self._local(placed.prototype, scene).box
        return None if box is None else placed_box(box, placed.to_world)

    def _add(self, number: int, placed: PlacedShape, scene: Scene) -> None:
        record = ShapeRecord()
        record.light = -1
        emission = placed.shape.emission
        if placed.sphere is not None:
            if emission is not None:
                self.emitters.append(Emitter(number, len(self.spheres), None))
            center, radius, inward = placed.sphere
            record.flags = int(INWARD) if inward else 0
            self.spheres.append(_sphere_record(number, center - self.origin, radius, placed.to_world[:3, :3]))
        else:
            local = self._local(placed.prototype, scene)
            mesh = place_mesh(local.mesh, placed.shape, placed.to_world, self.origin)
            count = len(mesh.indices)
            record.first_triangle = self._triangle_count
            record.flags = int(SMOOTH) * local.smooth
            record.flags |= int(HAS_UV) * (mesh.uvs is not None) | int(HAS_COLOR) * (mesh.colors is not None)
            record.uv_offset = local.first_uv - self._vertex_count
            record.color_offset = local.first_color - self._vertex_count
            self._positions.append(mesh.positions)
            smooth = mesh.normals if local.smooth else None
            self._normals.append(np.zeros((len(mesh.positions), 3), np.float32) if smooth is None else smooth)
            self._triangles.append(mesh.indices + np.int32(self._vertex_count))
            self._owners.append((number, count))
            if emission is not None:
                self.emitters.append(Emitter(number, self._triangle_count, count))
            self._vertex_count += len(mesh.positions)
            self._triangle_count += count
        self.shapes.append(record)

    def _local(self, prototype: GroupShape, scene: Scene) -> LocalMesh:
        """The triangles of a shape before its transform, the same for all instances."""
        key: object = id(prototype)
        if isinstance(prototype, Mesh) and prototype.file is not None:
            key = (prototype.file, prototype.face_normals, prototype.flip_v, prototype.color_attribute)
        if key not in self._locals:
            mesh = tessellate(prototype, file_mesh(prototype, scene.meshes))
            box = box_of(mesh.positions) if len(mesh.positions) else None
            self._locals[key] = LocalMesh(mesh, box, not is_flat(mesh), self._uv_count, self._color_count)
            if mesh.uvs is not None:
                self._uvs.append(mesh.uvs)
                self._uv_count += len(mesh.uvs)
            if mesh.colors is not None:
                self._colors.append(mesh.colors)
                self._color_count += len(mesh.colors)
        return self._locals[key]

    @staticmethod
    def _join(parts: list[np.ndarray], dtype: type, columns: int) -> np.ndarray:
        return np.concatenate(parts).astype(dtype, copy=False) if parts else np.zeros((0, columns), dtype)


def _sphere_record(shape: int, center: np.ndarray, radius: float, linear: np.ndarray) -> SphereRecord:
    """The record of an analytic sphere. `linear`: the linear part of its transform, [3, 3]."""
    record = SphereRecord()
    record.center, record.radius, record.shape = wp.vec3(*center), radius, shape
    record.orientation = wp.mat33(*(linear / np.linalg.norm(linear, axis=0)).T.ravel())
    return record


def _free_memory(device: str) -> int | None:
    """Free memory of a CUDA device [bytes]; None for the CPU."""
    return None if device == "cpu" else wp.get_device(device).free_memory


def face_normals(positions: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Unit normals of triangles, shape [count, 3], float64; zero for triangles without area."""
    # In float64: in float32 the products of long edges overflow, and those of slivers have few digits
    corner, a, b = (positions.take(column, axis=0).astype(np.float64) for column in triangles.T)
    a -= corner
    b -= corner
    normals = np.empty((len(triangles), 3))
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        np.subtract(a[:, j] * b[:, k], a[:, k] * b[:, j], out=normals[:, i])
    x, y, z = normals.T
    lengths = np.sqrt(x * x + y * y + z * z)
    lengths[~(lengths > 0.0)] = 1.0
    normals /= lengths[:, None]
    return normals


def is_flat(mesh: TriangleMesh) -> bool:
    """Whether there are no vertex normals, or they all equal the faces' normals, so that interpolation changes nothing."""
    if mesh.normals is None:
        return True
    for indices in (mesh.indices[:64], mesh.indices):  # the first triangles show that most meshes are not flat
        faces = face_normals(mesh.positions, indices)
        if np.abs(mesh.normals[indices] - faces[:, None]).max(initial=0.0) > 1e-6:
            return False
    return True


class DeviceScene:
    """A scene on a device, and the owner of its memory.

    Args:
        scene: The scene.
        device: Warp device.
        accel: The acceleration structure of triangles.

    Attributes:
        record: The scene as kernels read it.
        box: Lower and upper corner of the box around all shapes in world space, float64 [3] each.
        origin: The point of world space that is the origin of all positions on the device, float64 [3].

    Raises:
        SceneError: The scene contradicts itself, or is too large.
        DeviceError: The device has not enough memory.
    """

    def __init__(self, scene: Scene, device: str, accel: Accel) -> None:
        check_memory(geometry_size(scene), accel.value, device, _free_memory(device))
        self._device, self.record = device, SceneRecord()
        with ThreadPoolExecutor(max_workers=1) as beside:
            environment = environment_beside(scene, beside)
            geometry = Geometry(scene)
            self._outline = geometry.outline()
            self.origin = geometry.origin
            low, high = geometry.box()
            self.box = low + self.origin, high + self.origin
            with self._memory():
                self.record.surfaces = geometry.upload(device)
                self.record.accel = self._build_accel(geometry, device, accel)
            tables = SceneTables(scene, geometry.placed, self._outline, environment=environment)
        with self._memory():
            self._dress(tables)

    @contextlib.contextmanager
    def _memory(self) -> Iterator[None]:
        """Turn the errors of a device that has not enough memory into `DeviceError`s."""
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            raise DeviceError(f"{self._device} has not enough memory for the scene: {error}") from error

    def dressed(self, scene: Scene) -> DeviceScene:
        """The same geometry with the materials, textures and lights of another scene; what they share stays in its memory.

        Args:
            scene: A scene of the same geometry, as `same_geometry` tells.

        Raises:
            SceneError: The scene contradicts itself.
            DeviceError: The device has not enough memory.
        """
        placed = [each.shape for each in placed_shapes(scene.description)]
        tables = SceneTables(scene, placed, self._outline, before=self._tables)
        other = copy.copy(self)
        other.record = SceneRecord()
        other.record.accel, other.record.surfaces = self.record.accel, Surfaces()
        for name in ("triangles", "normals", "uvs", "colors", "shapes"):
            setattr(other.record.surfaces, name, getattr(self.record.surfaces, name))
        with self._memory():
            other._dress(tables)
        return other

    def _dress(self, tables: SceneTables) -> None:
        """Copy materials, textures and lights to the device, and which of them each shape has."""
        self._tables, record, device = tables, self.record, self._device
        record.textures, record.materials, record.lights = tables.upload(device)
        shapes = record.surfaces.shapes.numpy().copy()
        count = len(tables.materials)
        for name, values in (("material", tables.materials), ("light", tables.lights), ("flags", tables.flags)):
            shapes[name][:count] = values
        record.surfaces.shapes = wp.array(shapes, dtype=ShapeRecord, device=device)

    def _build_accel(self, geometry: Geometry, device: str, accel: Accel) -> AccelHandles:
        handles = AccelHandles()
        if len(geometry.triangles) and accel == Accel.EMBREE:
            self._embree = EmbreeScene(geometry.positions, geometry.triangles)
            handles.embree_scene = self._embree.address
            handles.embree_intersect, handles.embree_occluded = self._embree.intersect, self._embree.occluded
        elif len(geometry.triangles):
            self._mesh = wp.Mesh(
                wp.array(geometry.positions, dtype=wp.vec3, device=device),
                wp.array(geometry.triangles.ravel(), dtype=int, device=device),
                bvh_constructor="sah",
                bvh_leaf_size=1,
            )
            handles.mesh = self._mesh.id
        handles.sphere_count = len(geometry.spheres)
        if len(geometry.spheres) > FEW_SPHERES:
            centers = np.array([s.center for s in geometry.spheres], np.float32)
            radii = np.array([[s.radius] for s in geometry.spheres], np.float32)
            margin = radii * 1e-5 + np.abs(centers) * 1e-6
            self._sphere_bounds = (
                wp.array(centers - radii - margin, dtype=wp.vec3, device=device),
                wp.array(centers + radii + margin, dtype=wp.vec3, device=device),
            )
            self._sphere_bvh = wp.Bvh(*self._sphere_bounds, constructor="sah")
            handles.sphere_bvh = self._sphere_bvh.id
        handles.spheres = wp.array(geometry.spheres or [SphereRecord()], dtype=SphereRecord, device=device)
        return handles
