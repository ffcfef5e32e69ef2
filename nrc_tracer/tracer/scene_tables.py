"""Materials, textures and lights of a scene, for geometry that is on a device already or soon will be."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from msgspec.structs import replace

from nrc_tracer.scene.model import GroupShape, Instance, Scene, Shape
from nrc_tracer.tracer.bsdf.lobe import Materials
from nrc_tracer.tracer.environment_table import EnvironmentTable
from nrc_tracer.tracer.interaction import HAS_COLOR, HAS_UV
from nrc_tracer.tracer.light_table import LightTable
from nrc_tracer.tracer.lights.light import Lights
from nrc_tracer.tracer.material_table import MaterialTable
from nrc_tracer.tracer.texture_table import TextureTable
from nrc_tracer.tracer.textures import Textures


@dataclass(frozen=True)
class PlacedEmitter:
    """The geometry of a shape that emits light.

    Attributes:
        shape: Number of the shape.
        first: Number of its first triangle, or of its sphere.
        faces: Corners of its triangles, float64 [count, 3, 3], and the unit normals of the sides that emit, [count, 3];
            None for an analytic sphere.
        center: Centre of the sphere, relative to the scene's origin, [3].
        radius: Radius of the sphere.
    """

    shape: int
    first: int
    faces: tuple[np.ndarray, np.ndarray] | None = None
    center: np.ndarray = field(default_factory=lambda: np.zeros(3))
    radius: float = 0.0


@dataclass(frozen=True)
class Outline:
    """What materials and lights need to know of a scene's geometry.

    Attributes:
        origin: The point of world space that is the origin of all positions on the device, float64 [3].
        center: Centre of a sphere around all shapes, relative to it.
        radius: Radius of that sphere.
        flags: Flags of each shape as its mesh has them, int32 [shapes].
        emitters: The shapes that emit light.
    """

    origin: np.ndarray
    center: np.ndarray
    radius: float
    flags: np.ndarray
    emitters: tuple[PlacedEmitter, ...]


class SceneTables:
    """Materials, textures and lights of a scene.

    Args:
        scene: The scene.
        placed: Its shapes, instances one by one.
        outline: What they depend on in its geometry.
        before: The tables of the scene before an edit, on the same device: textures and environment maps that are the same stay.
        environment: The tables of its environment map, if another thread makes them.

    Attributes:
        materials: Number of each shape's material, int32 [shapes].
        lights: Number of each shape's first light, -1 for none, int32 [shapes].
        flags: Flags of each shape, without what neither its material nor its emission looks up, int32 [shapes].

    Raises:
        SceneError: The scene contradicts itself.
    """

    def __init__(
        self,
        scene: Scene,
        placed: Sequence[GroupShape],
        outline: Outline,
        *,
        before: SceneTables | None = None,
        environment: Future[EnvironmentTable] | None = None,
    ) -> None:
        self._scene = scene
        self._uploaded: Textures | None = None
        self._textures: TextureTable
        if before is not None and _same_textures(before._scene, scene):
            self._textures, self._uploaded = before._textures, before._uploaded
        else:
            self._textures = TextureTable(scene)
        self._material_table = MaterialTable(scene, self._textures)
        known = None if before is None else before._light_table.uploaded
        self._light_table: LightTable = LightTable(
            scene, self._textures, outline.center, outline.radius, outline.origin, uploaded=known, prepared=environment
        )
        self.lights = np.full(len(placed), -1, np.int32)
        for emitter in outline.emitters:
            emission = placed[emitter.shape].emission
            if emission is None:
                raise ValueError(f"shape {emitter.shape} emits no light any more: the scene has another outline")
            if emitter.faces is None:
                number = self._light_table.add_sphere(emitter.first, emitter.center, emitter.radius, emission)
            else:
                number = self._light_table.add_triangles(emitter.first, *emitter.faces, emission)
            self.lights[emitter.shape] = number
        for light in scene.description.lights:
            self._light_table.add(light)

        table = self._material_table
        self.materials = np.array([table.index(shape.material) for shape in placed], np.int32)
        # What neither material nor emission looks up is not fetched
        names = {shape.material for shape in placed}
        uv = {name: table.needs_uv(name) for name in names}
        colors = {name: table.needs_colors(name) for name in names}
        unused = [
            int(HAS_UV) * (not (uv[shape.material] or isinstance(shape.emission, str)))
            | int(HAS_COLOR) * (not colors[shape.material])
            for shape in placed
        ]
        self.flags = outline.flags & ~np.array(unused, np.int32)

    def upload(self, device: str) -> tuple[Textures, Materials, Lights]:
        """Copy everything to a device that is not there yet."""
        if self._uploaded is None:
            self._uploaded = self._textures.upload(device)
            self._textures.release()
        return self._uploaded, self._material_table.upload(device), self._light_table.upload(device)


def same_geometry(old: Scene, new: Scene) -> bool:
    """Whether two scenes differ in materials, textures, lights and radiance of emitters at most.

    Files must have been read once for both: their contents are compared by identity.
    """
    a, b = old.description, new.description
    if old.meshes.keys() != new.meshes.keys() or old.snapshots.keys() != new.snapshots.keys():
        return False
    if any(mesh is not new.meshes[name] for name, mesh in old.meshes.items()):
        return False
    if any(snapshot is not new.snapshots[name] for name, snapshot in old.snapshots.items()):
        return False
    if a.groups.keys() != b.groups.keys():
        return False
    pairs = [(a.shapes, b.shapes), *((shapes, b.groups[name]) for name, shapes in a.groups.items())]
    return all(len(x) == len(y) and all(map(_same_shape, x, y)) for x, y in pairs)


def _same_shape(old: Shape, new: Shape) -> bool:
    if old is new:
        return True
    if type(old) is not type(new):
        return False
    if isinstance(old, Instance) or isinstance(new, Instance):
        return old == new
    if (old.emission is None) != (new.emission is None):
        return False
    return bool(replace(old, material=new.material, emission=new.emission) == new)


def _same_textures(old: Scene, new: Scene) -> bool:
    """Whether all textures and the images that they name are the same."""
    textures = new.description.textures
    if old.description.textures != textures:
        return False
    files = [getattr(texture, "file", None) for texture in textures.values()]
    return all(old.images.get(file) is new.images.get(file) for file in files if file is not None)
