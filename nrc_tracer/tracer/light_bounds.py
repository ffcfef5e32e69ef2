"""Bounds of local lights: where they are, in which directions they shine, and how strongly.

The directions are those of Conty Estevez and Kulla (*Importance Sampling of Many Lights with Adaptive Tree Splitting*, 2018): the
normals of a light lie within the angle `spread` of its axis, and each shines up to the angle `falloff` from the normal.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

NO_AXIS = np.array([0.0, 0.0, 1.0])
"""Axis of lights that shine in all directions."""


@dataclass(frozen=True)
class LightBounds:
    """Bounds of several lights, or of several groups of them. All arrays are float64.

    Attributes:
        low, high: Corners of a box around each, [count, 3].
        center, radius: A sphere around each, [count, 3] and [count].
        axis: Unit vector of the middle of the normals, [count, 3].
        spread: Largest angle between axis and normals, [count] [rad].
        falloff: Largest angle between a normal and the light's directions, [count] [rad].
        intensity: Luminance of the radiant intensity along a normal, summed over the lights, [count].
    """

    low: np.ndarray
    high: np.ndarray
    center: np.ndarray
    radius: np.ndarray
    axis: np.ndarray
    spread: np.ndarray
    falloff: np.ndarray
    intensity: np.ndarray

    def __len__(self) -> int:
        return len(self.intensity)

    def __getitem__(self, chosen: np.ndarray | slice) -> LightBounds:
        return LightBounds(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def __setitem__(self, chosen: np.ndarray, bounds: LightBounds) -> None:
        for field in fields(self):
            getattr(self, field.name)[chosen] = getattr(bounds, field.name)

    @classmethod
    def join(cls, parts: list[LightBounds]) -> LightBounds:
        """Bounds of all lights of several arrays, one after the other."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    @classmethod
    def zeros(cls, count: int) -> LightBounds:
        """Bounds that are still to be filled in."""
        points, numbers = (lambda: np.zeros((count, 3))), (lambda: np.zeros(count))
        return cls(points(), points(), points(), numbers(), points(), numbers(), numbers(), numbers())

    @classmethod
    def of_triangles(cls, corners: np.ndarray, normals: np.ndarray, intensities: np.ndarray) -> LightBounds:
        """Bounds of triangles that emit diffusely.

        Args:
            corners: Their corners, [count, 3, 3].
            normals: Unit normal on the side that emits, [count, 3]; zero if that side varies over the triangle.
            intensities: Intensity along the normal, [count].
        """
        low, high = corners.min(axis=1), corners.max(axis=1)
        center = 0.5 * (low + high)
        radius = np.linalg.norm(corners - center[:, None], axis=2).max(axis=1)
        varies = np.linalg.norm(normals, axis=1) == 0.0
        axis = np.where(varies[:, None], NO_AXIS, normals)
        spread = np.where(varies, np.pi, 0.0)
        return cls(low, high, center, radius, axis, spread, np.full(len(low), 0.5 * np.pi), intensities)

    @classmethod
    def of_sphere(cls, center: np.ndarray, radius: float, intensity: float) -> LightBounds:
        """Bounds of a sphere or, with radius 0, of a point that shines in all directions."""
        return cls.of_cone(center, radius, NO_AXIS, np.pi, 0.5 * np.pi, intensity)

    @classmethod
    def of_cone(
        cls, center: np.ndarray, radius: float, axis: np.ndarray, spread: float, falloff: float, intensity: float
    ) -> LightBounds:
        """Bounds of one light, given by its sphere and its directions."""
        at = np.asarray(center, np.float64)[None]
        angles = (np.array([value], np.float64) for value in (radius, spread, falloff, intensity))
        size, wide, dark, strong = angles
        return cls(at - size, at + size, at, size, np.asarray(axis, np.float64)[None], wide, dark, strong)

    def joined(self, other: LightBounds) -> LightBounds:
        """Bounds of the groups that each hold a light of this array and the light in the same row of the other one."""
        low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        center = 0.5 * (low + high)
        reach = [np.linalg.norm(part.center - center, axis=1) + part.radius for part in (self, other)]
        radius = np.minimum(np.maximum(*reach), 0.5 * np.linalg.norm(high - low, axis=1))
        axis, spread = _joined_cones(self.axis, self.spread, other.axis, other.spread)
        falloff = np.maximum(self.falloff, other.falloff)
        return LightBounds(low, high, center, radius, axis, spread, falloff, self.intensity + other.intensity)


def _joined_cones(
    a: np.ndarray, a_spread: np.ndarray, b: np.ndarray, b_spread: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Axes and spreads of cones around pairs of cones (PBRT, 4th ed., 3.8.4)."""
    between = np.arccos(np.clip(np.einsum("ij,ij->i", a, b), -1.0, 1.0))
    spread = 0.5 * (a_spread + between + b_spread)
    # Turn the axis of the first cone towards that of the second
    turn = spread - a_spread
    sine = np.sin(between)
    with np.errstate(divide="ignore", invalid="ignore"):
        axis = (np.sin(between - turn)[:, None] * a + np.sin(turn)[:, None] * b) / sine[:, None]
    everywhere = (spread >= np.pi) | (sine < 1e-6)
    axis[everywhere], spread[everywhere] = NO_AXIS, np.pi
    for inner_spread, outer, outer_spread in ((a_spread, b, b_spread), (b_spread, a, a_spread)):
        holds = np.minimum(between + inner_spread, np.pi) <= outer_spread + 1e-9
        axis[holds], spread[holds] = outer[holds], np.maximum(outer_spread, inner_spread)[holds]
    return axis / np.linalg.norm(axis, axis=1, keepdims=True), spread
