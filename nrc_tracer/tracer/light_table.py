"""Converts the lights of a scene to records with an alias table on a device.

The probability of choosing a light is 3/4 proportional to its power and 1/4 uniform over the emitters of the scene file, where
all triangles of a mesh are one emitter. Power alone would starve a lamp in a room whose scene has a bright sky outside.
"""

from __future__ import annotations

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
from nrc_tracer.tracer.environment_table import EnvironmentTable
from nrc_tracer.tracer.lights.light import LightRecord, Lights
from nrc_tracer.tracer.texture_table import LUMINANCE, TextureTable, as_rgb
from nrc_tracer.tracer.vocabulary import LightKind

UNIFORM_SHARE = 0.25
"""Fraction of the probability that is uniform over emitters instead of proportional to power."""


def alias_table(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vose's alias table: cell i stands for i with probability `threshold[i]`, else for `alias[i]`.

    Args:
        probabilities: Shape [n], with sum 1.

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
        radius: Radius of that sphere.
        origin: The point of world space that is the origin of all positions on the device, float64 [3].
    """

    scene: Scene
    textures: TextureTable
    center: np.ndarray
    radius: float
    origin: np.ndarray = field(default_factory=lambda: np.zeros(3))
    _records: list[np.ndarray] = field(default_factory=list)  # an array of records for each emitter
    _powers: list[np.ndarray] = field(default_factory=list)
    _environment: EnvironmentTable | None = None
    _background: int = -1  # number of the light that escaping rays see

    def add_triangles(self, first: int, areas: np.ndarray, emission: float | tuple | str) -> int:
        """Add a light for each of several consecutive triangles; return the number of the first light."""
        records = self._new(LightKind.TRIANGLE, emission, len(areas))
        records["index"] = first + np.arange(len(areas))
        records["area_density"] = 1.0 / np.maximum(areas, 1e-30)
        return self._append(records, np.pi * areas * (self.textures.mean(emission) @ LUMINANCE))

    def add_sphere(self, index: int, radius: float, emission: float | tuple | str) -> int:
        """Add the light of an analytic sphere; return its number."""
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
                record["p"] = np.asarray(light.position, np.float64) - self.origin
                power = 4.0 * np.pi * self._luminance(light.intensity)
            case SpotLight():
                record = self._new(LightKind.SPOT, light.intensity)
                to_world = matrix(light.to_world)
                record["p"] = to_world[:3, 3] - self.origin
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
                self._environment = EnvironmentTable.of(light, self.scene.images[light.file])
                record = self._new(LightKind.ENVIRONMENT, 1.0)
                power = np.pi * disk * self._environment.mean_luminance * light.scale
        self._append(record, power)

    def upload(self, device: str) -> Lights:
        """Compute the probabilities and copy everything to a device."""
        lights = Lights()
        lights.count = self._count()
        lights.background = self._background
        lights.environment = (self._environment or EnvironmentTable.black()).upload(device)
        records = zero_structs(LightRecord, 1)
        if self._records:
            records = np.concatenate(self._records)
            p = self._probabilities()
            records["probability"] = p
            records["threshold"], records["alias"] = alias_table(p)
            records["area_density"] *= p
        lights.records = wp.array(records, dtype=LightRecord, device=device)
        return lights

    def _count(self) -> int:
        return sum(len(records) for records in self._records)

    def _probabilities(self) -> np.ndarray:
        total = sum(power.sum() for power in self._powers)
        if total <= 0.0:
            return np.full(self._count(), 1.0 / self._count())
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
