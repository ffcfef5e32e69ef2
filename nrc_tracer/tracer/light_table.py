"""From the lights of a scene to records with an alias table on a device.

A light is chosen with a probability that is 3/4 in proportion to its power and 1/4 alike for every emitter of the scene file
(all triangles of a mesh are one emitter): power alone would starve a lamp in a room under a bright sky that lies outside.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import warp as wp

from nrc_tracer.errors import SceneError
from nrc_tracer.imaging.tonemap import decode_srgb
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
from nrc_tracer.tracer.lights.environment import Environment, sampling_tables
from nrc_tracer.tracer.lights.light import LightRecord
from nrc_tracer.tracer.lights.lights import Lights
from nrc_tracer.tracer.texture_table import LUMINANCE, TextureTable, as_rgb, to_rgb
from nrc_tracer.tracer.vocabulary import LightKind

UNIFORM_SHARE = 0.25
"""Share of the choices that is spread evenly over emitters instead of by power."""


def alias_table(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vose's alias table: cell i holds i with probability `threshold[i]`, else `alias[i]`.

    Args:
        probabilities: Shape [n], of sum 1.

    Returns:
        Thresholds and aliases, shape [n] each.
    """
    n = len(probabilities)
    scaled = (np.asarray(probabilities, np.float64) * n).tolist()
    threshold, alias = np.ones(n), np.arange(n)
    small = [i for i, p in enumerate(scaled) if p < 1.0]
    large = [i for i, p in enumerate(scaled) if p >= 1.0]
    while small and large:
        i, j = small.pop(), large.pop()
        threshold[i], alias[i] = scaled[i], j
        scaled[j] -= 1.0 - scaled[i]
        (small if scaled[j] < 1.0 else large).append(j)
    return threshold, alias


@dataclass
class LightTable:
    """All lights of a scene.

    Args:
        scene: The scene.
        textures: Its textures.
        center: Centre of a sphere around the scene.
        radius: Its radius.
    """

    scene: Scene
    textures: TextureTable
    center: np.ndarray
    radius: float
    _records: list[np.ndarray] = field(default_factory=list)  # one array of records for each emitter
    _powers: list[np.ndarray] = field(default_factory=list)
    _environment: EnvironmentMap | None = None
    _pixels: np.ndarray | None = None
    _tables: tuple[np.ndarray, np.ndarray, float] | None = None
    _background: int = -1

    def add_triangles(self, first: int, areas: np.ndarray, emission: float | tuple | str) -> int:
        """Make lights of consecutive triangles; return the number of the first light."""
        records = self._new(LightKind.TRIANGLE, emission, len(areas))
        records["index"] = first + np.arange(len(areas))
        records["area_density"] = 1.0 / np.maximum(areas, 1e-30)
        return self._append(records, np.pi * areas * (self.textures.mean(emission) @ LUMINANCE))

    def add_sphere(self, index: int, radius: float, emission: float | tuple | str) -> int:
        """Make a light of an analytic sphere; return its number."""
        record = self._new(LightKind.SPHERE, emission)
        area = 4.0 * np.pi * radius**2
        record["index"], record["area_density"] = index, 1.0 / area
        return self._append(record, np.pi * area * (self.textures.mean(emission) @ LUMINANCE))

    def add(self, light: Light) -> None:
        """Add a light that is not a shape.

        Raises:
            SceneError: It is a second background.
        """
        disk = np.pi * self.radius**2
        match light:
            case PointLight():
                record = self._new(LightKind.POINT, light.intensity)
                record["p"] = light.position
                power = 4.0 * np.pi * self._luminance(light.intensity)
            case SpotLight():
                record = self._new(LightKind.SPOT, light.intensity)
                to_world = matrix(light.to_world)
                record["p"] = to_world[:3, 3]
                record["d"] = to_world[:3, 2] / np.linalg.norm(to_world[:3, 2])
                full = 0.75 * light.cutoff_angle if light.beam_width is None else light.beam_width
                cutoff, cos_full = np.radians(light.cutoff_angle), np.cos(np.radians(min(full, light.cutoff_angle)))
                record["cutoff"], record["cos_full"] = cutoff, cos_full
                power = 2.0 * np.pi * (1.0 - 0.5 * (cos_full + np.cos(cutoff))) * self._luminance(light.intensity)
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
                self._environment = light
                self._pixels = self._environment_pixels()
                self._tables = sampling_tables(self._pixels @ LUMINANCE)
                record = self._new(LightKind.ENVIRONMENT, 1.0)
                power = np.pi * disk * self._tables[2] * light.scale
        self._append(record, power)

    def upload(self, device: str) -> Lights:
        """Compute the probabilities and copy everything to a device."""
        lights = Lights()
        lights.count = self._count()
        lights.background = self._background
        lights.environment = self._upload_environment(device)
        records = np.zeros(1, LightRecord.numpy_dtype())
        if self._records:
            records = np.concatenate(self._records)
            p = self._probabilities()
            records["probability"], (records["threshold"], records["alias"]) = p, alias_table(p)
            records["area_density"] *= p
        lights.records = wp.array(records, dtype=LightRecord, device=device)
        return lights

    def _count(self) -> int:
        return sum(len(records) for records in self._records)

    def _probabilities(self) -> np.ndarray:
        total = sum(power.sum() for power in self._powers)
        if total <= 0.0:
            return np.full(self._count(), 1.0 / self._count())
        shining = sum(bool(power.sum() > 0.0) for power in self._powers)
        return np.concatenate(
            [
                power * ((1.0 - UNIFORM_SHARE) / total + UNIFORM_SHARE / (shining * (power.sum() or 1.0)))
                for power in self._powers
            ]
        )

    def _new(self, kind: LightKind, emission: float | tuple | str, count: int = 1) -> np.ndarray:
        """Records of one emitter, all alike."""
        records = np.zeros(count, LightRecord.numpy_dtype())
        param = self.textures.param(emission)
        records["kind"], records["index"] = int(kind), -1
        records["emission"]["value"], records["emission"]["texture"] = np.array(param.value), param.texture
        return records

    def _append(self, records: np.ndarray, powers: np.ndarray | float) -> int:
        """Add the lights of one emitter; return the number of the first."""
        first = self._count()
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

    def _environment_pixels(self) -> np.ndarray:
        pixels = to_rgb(self.scene.images[self._environment.file])
        if pixels.dtype != np.float32:
            pixels = decode_srgb(pixels / np.iinfo(pixels.dtype).max)
        return np.maximum(pixels, 0.0).astype(np.float32)

    def _upload_environment(self, device: str) -> Environment:
        environment = Environment()
        if self._environment is None:
            pixels, rotation, environment.scale = np.zeros((1, 1, 3), np.float32), np.eye(3), 0.0
            rows, columns, _ = sampling_tables(pixels[..., 0])
        else:
            pixels, (rows, columns, _) = self._pixels, self._tables
            rotation = matrix(self._environment.to_world)[:3, :3]
            rotation = rotation / np.linalg.norm(rotation[:, 0])
            environment.scale = self._environment.scale
            if not np.allclose(rotation.T @ rotation, np.eye(3), atol=1e-4):
                raise SceneError("an environment map can be turned and mirrored, but not sheared or scaled unevenly")
        luminance = np.nan_to_num(pixels @ LUMINANCE, nan=0.0, posinf=0.0, neginf=0.0)
        environment.height, environment.width = luminance.shape
        environment.texels = wp.array(pixels.reshape(-1, 3), dtype=wp.vec3, device=device)
        environment.luminance = wp.array(luminance.astype(np.float32).ravel(), dtype=float, device=device)
        environment.row_cdf = wp.array(rows, dtype=float, device=device)
        environment.column_cdf = wp.array(columns.ravel(), dtype=float, device=device)
        environment.to_local = wp.mat33(*rotation.T.ravel())
        return environment
