"""From a loaded scene to the record that kernels read: geometry, materials, textures, lights, camera and film on a device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import warp as wp

from nrc_tracer.errors import DeviceError, SceneError
from nrc_tracer.scene.geometry import place_mesh, tessellate, world_sphere
from nrc_tracer.scene.instances import geometry_size, placed_shapes
from nrc_tracer.scene.memory import check_memory
from nrc_tracer.scene.model import Camera, Film, GroupShape, Mesh, Orthographic, Scene, Sphere, TriangleMesh
from nrc_tracer.scene.transforms import matrix
from nrc_tracer.tracer.accel.embree import EmbreeScene
from nrc_tracer.tracer.accel.intersect import FAR, AccelHandles, SphereRecord
from nrc_tracer.tracer.camera import CameraRecord, FilmRecord
from nrc_tracer.tracer.interaction import HAS_COLOR, HAS_UV, INWARD, SMOOTH, ShapeRecord, Surfaces, TriangleRecord
from nrc_tracer.tracer.light_table import LightTable
from nrc_tracer.tracer.material_table import MaterialTable
from nrc_tracer.tracer.texture_table import TextureTable
from nrc_tracer.tracer.transport import SceneRecord
from nrc_tracer.tracer.vocabulary import Accel, CameraKind, FilterKind

FEW_SPHERES = 16
"""Up to so many, testing them all is quicker than walking a tree."""

ANALYTIC = -1
"""Stands for the number of triangles of an analytic sphere."""


@dataclass(frozen=True)
class LocalMesh:
    """Triangles before their transform, whether they are smooth, and where their texture coordinates and colours begin."""

    mesh: TriangleMesh
    smooth: bool
    first_uv: int
    first_color: int


class Geometry:
    """All shapes of a scene in world space, instances one by one: triangles in common buffers, spheres apart.

    Texture coordinates and colours of a mesh that is there several times are stored once.

    Args:
        scene: The scene.

    Attributes:
        placed: The shapes, each with its transform into the world.
        shapes: What kernels read of each.
    """

    def __init__(self, scene: Scene) -> None:
        self.shapes: list[ShapeRecord] = []
        self.spheres: list[SphereRecord] = []
        self.placed: list[GroupShape] = []
        self._locals: dict[object, LocalMesh] = {}
        self._positions, self._normals, self._uvs, self._colors = [], [], [], []
        self._triangles, self._owners = [], []
        self._vertex_count = self._triangle_count = self._uv_count = self._color_count = 0
        self.emitters: list[tuple[int, GroupShape, int, int]] = []  # shape's number, shape, first triangle, count
        for number, placed in enumerate(placed_shapes(scene.description)):
            try:
                self._add(number, placed.shape, placed.prototype, scene)
            except SceneError as error:
                raise SceneError(f"{placed.place}: {error}") from None
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

    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper corner of the box around everything, float64 [3] each; both 0 where there is nothing."""
        low = [self.positions.min(axis=0)] if len(self.positions) else []
        high = [self.positions.max(axis=0)] if len(self.positions) else []
        low += [np.array(s.center) - s.radius for s in self.spheres]
        high += [np.array(s.center) + s.radius for s in self.spheres]
        if not low:
            return np.zeros(3), np.zeros(3)
        return np.min(low, axis=0).astype(np.float64), np.max(high, axis=0).astype(np.float64)

    def bounds(self) -> tuple[np.ndarray, float]:
        """Centre and radius of a sphere around everything."""
        low, high = self.box()
        return 0.5 * (low + high), float(0.5 * np.linalg.norm(high - low)) or 1.0

    def areas(self, first: int, count: int) -> np.ndarray:
        """Areas of consecutive triangles, shape [count]."""
        corners = self.positions[self.triangles[first : first + count]].astype(np.float64)
        return 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)

    def upload(self, device: str) -> Surfaces:
        """Copy the triangles to a device."""
        surfaces = Surfaces()
        records = np.zeros(len(self.triangles), TriangleRecord.numpy_dtype())
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

    def _add(self, number: int, shape: GroupShape, prototype: GroupShape, scene: Scene) -> None:
        record = ShapeRecord()
        record.light = -1
        sphere = world_sphere(shape) if isinstance(shape, Sphere) else None
        if sphere is not None:
            self._add_sphere(number, shape, sphere, record)
        else:
            local = self._local(prototype, scene)
            mesh = place_mesh(local.mesh, shape)
            count = len(mesh.indices)
            record.first_triangle = self._triangle_count
            record.flags = int(SMOOTH) * local.smooth
            record.flags |= int(HAS_UV) * (mesh.uvs is not None) | int(HAS_COLOR) * (mesh.colors is not None)
            record.uv_offset = local.first_uv - self._vertex_count
            record.color_offset = local.first_color - self._vertex_count
            self._positions.append(mesh.positions)
            self._normals.append(mesh.normals if local.smooth else np.zeros((len(mesh.positions), 3), np.float32))
            self._triangles.append(mesh.indices + np.int32(self._vertex_count))
            self._owners.append((number, count))
            if shape.emission is not None:
                self.emitters.append((number, shape, self._triangle_count, count))
            self._vertex_count += len(mesh.positions)
            self._triangle_count += count
        self.shapes.append(record)

    def _local(self, prototype: GroupShape, scene: Scene) -> LocalMesh:
        """The triangles of a shape before its transform, the same for all instances."""
        file = prototype.file if isinstance(prototype, Mesh) else None
        key = (file, prototype.face_normals, prototype.flip_v) if file is not None else id(prototype)
        if key not in self._locals:
            mesh = tessellate(prototype, scene.meshes.get(file))
            smooth = mesh.normals is not None and not is_flat(mesh)
            self._locals[key] = LocalMesh(mesh, smooth, self._uv_count, self._color_count)
            if mesh.uvs is not None:
                self._uvs.append(mesh.uvs)
                self._uv_count += len(mesh.uvs)
            if mesh.colors is not None:
                self._colors.append(mesh.colors)
                self._color_count += len(mesh.colors)
        return self._locals[key]

    def _add_sphere(
        self, number: int, shape: Sphere, sphere: tuple[np.ndarray, float, bool], record: ShapeRecord
    ) -> None:
        center, radius, inward = sphere
        linear = matrix(shape.to_world)[:3, :3]
        device_sphere = SphereRecord()
        device_sphere.center, device_sphere.radius = wp.vec3(*center), radius
        device_sphere.orientation = wp.mat33(*(linear / np.linalg.norm(linear, axis=0)).T.ravel())
        device_sphere.shape = number
        record.flags = int(INWARD) if inward else 0
        if shape.emission is not None:
            self.emitters.append((number, shape, len(self.spheres), ANALYTIC))
        self.spheres.append(device_sphere)

    @staticmethod
    def _join(parts: list[np.ndarray], dtype: type, columns: int) -> np.ndarray:
        return np.concatenate(parts).astype(dtype, copy=False) if parts else np.zeros((0, columns), dtype)


def _free_memory(device: str) -> int | None:
    """Free bytes of a CUDA device; None for the CPU."""
    return None if device == "cpu" else wp.get_device(device).free_memory


def face_normals(positions: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Unit normals of triangles, shape [count, 3], float64; zero where there is no area."""
    # In float64: in float32 the product of long edges overflows, and that of slivers has few digits
    corners = positions[triangles].astype(np.float64)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], axis=1)
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    return normals / np.where(lengths > 0.0, lengths, 1.0)


def is_flat(mesh: TriangleMesh) -> bool:
    """Whether all vertex normals are those of their faces, so that interpolating them is wasted."""
    for indices in (mesh.indices[:64], mesh.indices):  # most meshes are not flat, and show it at once
        faces = face_normals(mesh.positions, indices)
        if np.abs(mesh.normals[indices] - faces[:, None]).max(initial=0.0) > 1e-6:
            return False
    return True


class DeviceScene:
    """A scene on a device, and what keeps its memory alive.

    Args:
        scene: The scene.
        device: Warp device.
        accel: What intersects triangles.

    Attributes:
        record: What kernels read.
        box: Lower and upper corner of the box around everything, float64 [3] each.

    Raises:
        SceneError: The scene asks for something impossible.
        DeviceError: The device has no room for it.
    """

    def __init__(self, scene: Scene, device: str, accel: Accel) -> None:
        check_memory(geometry_size(scene), accel.value, device, _free_memory(device))
        geometry = Geometry(scene)
        self.box = geometry.box()
        textures = TextureTable(scene)
        materials = MaterialTable(scene, textures)
        lights = LightTable(scene, textures, *geometry.bounds())
        for number, shape, first, count in geometry.emitters:
            if count == ANALYTIC:
                light = lights.add_sphere(first, geometry.spheres[first].radius, shape.emission)
            else:
                light = lights.add_triangles(first, geometry.areas(first, count), shape.emission)
            geometry.shapes[number].light = light
        for light in scene.description.lights:
            lights.add(light)
        for shape, record in zip(geometry.placed, geometry.shapes, strict=True):
            record.material = materials.index(shape.material)
            if not (materials.needs_uv(shape.material) or isinstance(shape.emission, str)):
                record.flags &= ~int(HAS_UV)
            if not materials.needs_colors(shape.material):
                record.flags &= ~int(HAS_COLOR)

        self.record = SceneRecord()
        try:
            self.record.surfaces = geometry.upload(device)
            self.record.textures = textures.upload(device)
            self.record.materials = materials.upload(device)
            self.record.lights = lights.upload(device)
            self.record.accel = self._build_accel(geometry, device, accel)
        except (MemoryError, RuntimeError) as error:
            raise DeviceError(f"{device} cannot hold the scene: {error}") from error

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


def camera_record(camera: Camera, film: Film) -> CameraRecord:
    """The camera as kernels read it."""
    record = CameraRecord()
    to_world = matrix(camera.to_world)
    scales = np.linalg.norm(to_world[:3, :3], axis=0)
    left, up, forward = (to_world[:3, i] / scales[i] for i in range(3))
    record.origin, record.left = wp.vec3(*to_world[:3, 3]), wp.vec3(*left)
    record.up, record.forward = wp.vec3(*up), wp.vec3(*forward)
    record.near, record.far = camera.near, camera.far or float(FAR)
    aspect = film.height / film.width
    if isinstance(camera, Orthographic):
        record.kind = int(CameraKind.ORTHOGRAPHIC)
        record.extent = wp.vec2(scales[0], aspect * scales[1])
        return record
    record.kind = int(CameraKind.PERSPECTIVE)
    half = np.tan(np.radians(camera.fov) / 2.0)
    axis = camera.fov_axis
    if axis in ("smaller", "larger"):
        axis = "y" if (axis == "smaller") == (film.height < film.width) else "x"
    if axis == "y":
        half /= aspect
    elif axis == "diagonal":
        half /= np.hypot(1.0, aspect)
    record.extent = wp.vec2(half, half * aspect)
    record.shift = wp.vec2(*camera.principal_point_offset)
    record.aperture_radius, record.focus_distance = camera.aperture_radius, camera.focus_distance
    return record


def film_record(film: Film) -> FilmRecord:
    """The film as kernels read it."""
    record = FilmRecord()
    record.size = wp.vec2(float(film.width), float(film.height))
    record.crop_x, record.crop_y, record.crop_width, _ = film.crop or (0, 0, film.width, film.height)
    kind = FilterKind[film.filter.upper()]
    record.filter = int(kind)
    default = {FilterKind.BOX: 0.5, FilterKind.TENT: 1.0, FilterKind.GAUSSIAN: 2.0}[kind]
    record.filter_radius = film.filter_radius or default
    record.filter_sigma = record.filter_radius / 4.0
    return record
