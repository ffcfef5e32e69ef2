"""Converts the lights of a scene to records on a device, and to a tree by which local lights are chosen.

Lights at infinity have constant probabilities; so have all lights where there are few local ones, for which a walk down a tree
costs more than it gains. The tree has the rest of the probability. Constant probabilities, and that of the whole tree, are 3/4
proportional to power and 1/4 uniform over the emitters of the scene file, where all triangles of a mesh are one emitter. Power
alone would starve a lamp in a room whose scene has a bright sky outside.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
import warp as wp

from nrc_tracer.device.structs import zero_structs
from nrc_tracer.errors import SceneError
from nrc_tracer.scene.model import (
    ConstantLight,
    DirectionalLight,
    EnvironmentMap,
    Light,
    PointLight,
    Scene,
    SpotLight,
)
from nrc_tracer.scene.transforms import matrix
from nrc_tracer.tracer.environment_table import EnvironmentTable, UploadedEnvironment
from nrc_tracer.tracer.light_bounds import LightBounds
from nrc_tracer.tracer.light_tree import build_light_tree, widen
from nrc_tracer.tracer.lights.light import Environment, LightRecord, Lights
from nrc_tracer.tracer.lights.tree import CHILDREN, FIELDS, LightNodes
from nrc_tracer.tracer.texture_table import LUMINANCE, TextureTable, as_rgb
from nrc_tracer.tracer.vocabulary import LightKind

ROUNDING = 1e-6
"""Fraction by which spheres around lights are larger than computed, more than float32 rounds."""
FEW_LIGHTS = 20
"""Largest number of local lights that are chosen by constant probabilities instead of a walk down a tree."""
UNIFORM_SHARE = 0.25
"""Fraction of the probability that is uniform over emitters instead of proportional to power."""


@dataclass
class LightTable:
    """All lights of a scene.

    Args:
        scene: The scene.
        textures: Its textures.
        center: Centre of a sphere around the scene.
        radius: Radius of that sphere.
        origin: The point of world space that is the origin of all positions on the device, float64 [3].
    """

    scene: Scene
    textures: TextureTable
    center: np.ndarray
    radius: float
    origin: np.ndarray = field(default_factory=lambda: np.zeros(3))
    uploaded: UploadedEnvironment | None = None
    """An environment map that is on the device already; after `upload`, the scene's."""
    prepared: Future[EnvironmentTable] | None = None
    """The tables of the scene's environment map, if another thread makes them."""
    _records: list[np.ndarray] = field(default_factory=list)  # an array of records for each emitter
    _powers: list[np.ndarray] = field(default_factory=list)
    _bounds: list[LightBounds] = field(default_factory=list)  # of local lights
    _local: list[np.ndarray] = field(default_factory=list)  # numbers of local lights
    _environment: EnvironmentTable | UploadedEnvironment | None = None
    _background: int = -1  # number of the light that escaping rays see

    def add_triangles(self, first: int, corners: np.ndarray, normals: np.ndarray, emission: float | tuple | str) -> int:
        """Add a light for each of several consecutive triangles.

        Args:
            first: Number of the first triangle.
            corners: Corners of the triangles, float64 [count, 3, 3].
            normals: Unit normal on the side that emits, [count, 3]; zero if that side varies over the triangle.
            emission: Radiance.

        Returns:
            The number of the first light.
        """
        areas = 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
        intensities = areas * np.maximum(self.textures.mean(emission) @ LUMINANCE, 0.0)
        records = self._new(LightKind.TRIANGLE, emission, len(areas))
        records["index"] = first + np.arange(len(areas))
        records["area_density"] = 1.0 / np.maximum(areas, 1e-30)
        return self._append(records, np.pi * intensities, LightBounds.of_triangles(corners, normals, intensities))

    def add_sphere(self, index: int, center: np.ndarray, radius: float, emission: float | tuple | str) -> int:
        """Add the light of an analytic sphere; return its number."""
        record = self._new(LightKind.SPHERE, emission)
        area = 4.0 * np.pi * radius**2
        record["index"], record["area_density"] = index, 1.0 / area
        intensity = np.pi * radius**2 * max(self.textures.mean(emission) @ LUMINANCE, 0.0)
        return self._append(record, 4.0 * np.pi * intensity, LightBounds.of_sphere(center, radius, intensity))

    def add(self, light: Light) -> None:
        """Add a light that is not a shape.

        Raises:
            SceneError: It is a second background.
        """
        disk = np.pi * self.radius**2
        bounds = None
        match light:
            case PointLight():
                record = self._new(LightKind.POINT, light.intensity)
                position, intensity = (
                    np.asarray(light.position, np.float64) - self.origin,
                    self._luminance(light.intensity),
                )
                record["p"] = position
                power = 4.0 * np.pi * intensity
                bounds = LightBounds.of_sphere(position, 0.0, intensity)
            case SpotLight():
                record = self._new(LightKind.SPOT, light.intensity)
                to_world = matrix(light.to_world)
                position, axis = to_world[:3, 3] - self.origin, to_world[:3, 2] / np.linalg.norm(to_world[:3, 2])
                record["p"], record["d"] = position, axis
                beam = 0.75 * light.cutoff_angle if light.beam_width is None else light.beam_width
                full, cutoff = np.radians(min(beam, light.cutoff_angle)), np.radians(light.cutoff_angle)
                record["cutoff"], record["cos_full"] = cutoff, np.cos(full)
                intensity = self._luminance(light.intensity)
                power = 2.0 * np.pi * (1.0 - 0.5 * (np.cos(full) + np.cos(cutoff))) * intensity
                bounds = LightBounds.of_cone(position, 0.0, axis, full, cutoff - full, intensity)
            case DirectionalLight():
                record = self._new(LightKind.DIRECTIONAL, light.irradiance)
                direction = np.asarray(light.direction, np.float64)
                if not np.linalg.norm(direction) > 0.0:
                    raise SceneError("a directional light needs a direction that is not zero")
                record["d"] = direction / np.linalg.norm(direction)
                power = disk * self._luminance(light.irradiance)
            case ConstantLight():
                self._claim_background()
                record = self._new(LightKind.CONSTANT, light.radiance)
                power = np.pi * disk * self._luminance(light.radiance)
            case EnvironmentMap():
                self._claim_background()
                image = self.scene.images[light.file]
                known = self.uploaded is not None and self.uploaded.fits(light, image)
                table: EnvironmentTable | UploadedEnvironment
                if self.uploaded and known:
                    table = self.uploaded.turned(light)
                else:
                    table = EnvironmentTable.of(light, image) if self.prepared is None else self.prepared.result()
                self._environment = table
                record = self._new(LightKind.ENVIRONMENT, 1.0)
                power = np.pi * disk * table.mean_luminance * light.scale
        self._append(record, power, bounds)

    def upload(self, device: str) -> Lights:
        """Compute the probabilities and copy everything to a device."""
        records = zero_structs(LightRecord, max(self._count(), 1))
        end = 0
        for part in self._records:
            begin, end = end, end + len(part)
            records[begin:end] = part
        probabilities = self._probabilities()
        local = np.concatenate([*self._local, np.zeros(0, np.int64)])
        local = local[probabilities[local] > 0.0]
        in_tree = local if len(local) > FEW_LIGHTS else local[:0]
        listed = np.setdiff1d(np.flatnonzero(probabilities), in_tree)
        cdf = np.append(0.0, np.cumsum(probabilities[listed])).astype(np.float32)
        if not len(in_tree) and len(listed):
            cdf /= cdf[-1]
        records["probability"][listed] = np.diff(cdf)
        records["probability"][in_tree] = np.float32(1.0) - cdf[-1]
        bounds, children = np.zeros(CHILDREN * len(FIELDS), np.float32), np.full(CHILDREN, -1, np.int32)
        if len(in_tree):
            bounds, children = self._build_tree(in_tree, records)

        lights = Lights()
        lights.count = len(in_tree) + len(listed)
        lights.background = self._background
        lights.environment = self._upload_environment(device)
        lights.records = wp.array(records, dtype=LightRecord, device=device)
        lights.listed = wp.array(np.append(listed, 0), dtype=int, device=device)
        lights.listed_cdf = wp.array(cdf, dtype=float, device=device)
        lights.listed_count = len(listed)
        lights.nodes = LightNodes()
        lights.nodes.bounds = wp.array(bounds, dtype=float, device=device)
        lights.nodes.children = wp.array(children, dtype=int, device=device)
        return lights

    def _build_tree(self, chosen: np.ndarray, records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Build a tree over local lights and return the bounds and the children of its nodes (see `LightNodes`).

        Args:
            chosen: Numbers of the lights, in order.
            records: Records of all lights, whose `trail` and `part` are set.
        """
        lights = LightBounds.join(self._bounds)[np.isin(np.concatenate(self._local), chosen)]
        is_second = _are_seconds(lights, chosen, records["kind"][chosen])
        first, second = np.flatnonzero(~is_second), np.flatnonzero(is_second)
        leaf = np.cumsum(~is_second) - 1  # of each light
        leaves = lights[first]
        leaves[leaf[second]] = lights[second - 1].joined(lights[second])
        tree = widen(build_light_tree(leaves))
        records["trail"][chosen] = tree.trails[leaf]
        part = (lights.intensity / leaves.intensity[leaf]).astype(np.float32)
        part[second] = np.float32(1.0) - part[second - 1]
        records["part"][chosen] = part
        bounds = tree.bounds
        rounding = np.abs(bounds.center).max(axis=1) * ROUNDING
        half = 0.5 * (bounds.high - bounds.low) * (1.0 + ROUNDING) + rounding[:, None]
        radius = bounds.radius * (1.0 + ROUNDING) + rounding
        spread = (np.cos(bounds.spread), np.sin(bounds.spread), np.cos(bounds.falloff))
        intensity = bounds.intensity / lights.intensity.sum()  # only ratios matter
        values = np.stack([*bounds.center.T, *half.T, *bounds.axis.T, radius, *spread, intensity], axis=1)
        table = np.zeros((len(tree.children) // CHILDREN, len(FIELDS), CHILDREN), np.float32)
        table[tree.place // CHILDREN, :, tree.place % CHILDREN] = values
        children = tree.children.copy()
        leaves = tree.place[children[tree.place] < 0]
        children[leaves] = -1 - chosen[first[-1 - children[leaves]]]
        return table.ravel(), children

    def _upload_environment(self, device: str) -> Environment:
        """The environment map on the device, where it may be already."""
        table = self._environment
        if isinstance(table, EnvironmentTable):
            light = next(light for light in self.scene.description.lights if isinstance(light, EnvironmentMap))
            record = table.upload(device)
            image = self.scene.images[light.file]
            table = UploadedEnvironment(image, light.rows, table.mean_luminance, record)
        self.uploaded = table
        self._environment = None  # its texels are not needed any more
        return EnvironmentTable.black().upload(device) if table is None else table.record

    def _count(self) -> int:
        return sum(len(records) for records in self._records)

    def _probabilities(self) -> np.ndarray:
        """The probability of each light if all were chosen by constant ones."""
        total = sum(power.sum() for power in self._powers)
        if total <= 0.0:
            return np.zeros(self._count())
        emitters = sum(bool(power.sum() > 0.0) for power in self._powers)
        return np.concatenate(
            [
                power * ((1.0 - UNIFORM_SHARE) / total + UNIFORM_SHARE / (emitters * (power.sum() or 1.0)))
                for power in self._powers
            ]
        )

    def _new(self, kind: LightKind, emission: float | tuple | str, count: int = 1) -> np.ndarray:
        """Equal records for `count` lights of one emitter."""
        records = zero_structs(LightRecord, count)
        param = self.textures.param(emission)
        records["kind"], records["index"] = int(kind), -1
        records["emission"]["value"], records["emission"]["texture"] = np.array(param.value), param.texture
        return records

    def _append(self, records: np.ndarray, powers: np.ndarray | float, bounds: LightBounds | None) -> int:
        """Add the lights of one emitter, local ones with their bounds; return the number of the first."""
        first = self._count()
        if bounds is not None:
            self._bounds.append(bounds)
            self._local.append(first + np.arange(len(records)))
        self._records.append(records)
        self._powers.append(np.maximum(np.broadcast_to(np.asarray(powers, np.float64), len(records)), 0.0))
        return first

    def _claim_background(self) -> None:
        if self._background >= 0:
            raise SceneError("a scene can have one background only: a constant light or an environment map")
        self._background = self._count()

    @staticmethod
    def _luminance(value: float | tuple[float, float, float]) -> float:
        return float(np.array(as_rgb(value)) @ LUMINANCE)


def _are_seconds(lights: LightBounds, numbers: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Whether each light shares a leaf with the one before it, as the two triangles of a rectangle do.

    They lie in one plane, shine to the same side, and a sphere around both is not much larger than one around each.
    """
    if len(lights) < 2:
        return np.zeros(len(lights), bool)
    first, second = lights[:-1], lights[1:]
    fits = (np.diff(numbers) == 1) & (kinds[1:] == int(LightKind.TRIANGLE)) & (kinds[:-1] == int(LightKind.TRIANGLE))
    fits &= np.minimum(first.intensity, second.intensity) >= 1e-6 * (first.intensity + second.intensity)
    fits &= (first.spread == 0.0) & (second.spread == 0.0)
    fits &= np.einsum("ij,ij->i", first.axis, second.axis) > 1.0 - 1e-6
    apart = np.abs(np.einsum("ij,ij->i", second.center - first.center, first.axis))
    radius = np.minimum(first.radius, second.radius)
    fits &= (apart <= 1e-4 * radius) & (first.joined(second).radius <= 1.5 * radius)
    # Of more than two in a row, the second and every other one
    fits = np.append(False, fits)
    places = np.arange(len(fits))
    row = np.maximum.accumulate(np.where(fits, 0, places))
    return (places - row) % 2 == 1
