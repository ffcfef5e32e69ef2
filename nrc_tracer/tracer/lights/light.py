"""Lights on a device: the record that every light is flattened to, and the sample of a light.

Every kind of light has a file with its `sample` function and, where a ray can hit the light, a `pdf` function: the density
[1/sr] with which `sample` would have drawn that direction. Both densities include the probability of choosing the light.
"""

import warp as wp

from nrc_tracer.tracer.textures import Param
from nrc_tracer.tracer.vocabulary import LightKind

TRIANGLE = wp.constant(int(LightKind.TRIANGLE))
SPHERE = wp.constant(int(LightKind.SPHERE))
POINT = wp.constant(int(LightKind.POINT))
SPOT = wp.constant(int(LightKind.SPOT))
DIRECTIONAL = wp.constant(int(LightKind.DIRECTIONAL))
CONSTANT = wp.constant(int(LightKind.CONSTANT))
ENVIRONMENT = wp.constant(int(LightKind.ENVIRONMENT))


@wp.struct
class LightRecord:
    """One light. `threshold` and `alias` are its cell of the alias table, by which lights are chosen."""

    kind: int
    index: int  # number of the triangle or sphere
    emission: Param  # radiance; intensity of point and spot lights; irradiance of directional ones
    p: wp.vec3  # position of point and spot lights
    d: wp.vec3  # unit vector along which spot and directional lights shine
    cos_full: float  # spot: cosine of the angle up to which it shines with full intensity
    cutoff: float  # spot: angle beyond which it is dark [rad]
    probability: float  # of choosing this light
    area_density: float  # triangle, sphere: `probability` over the area
    threshold: float
    alias: int


@wp.struct
class Environment:
    """An environment map. Row j of patches lies between texel rows j - 1 and j; the first and the last row touch the poles."""

    width: int
    height: int
    texels: wp.array[wp.vec3]
    luminance: wp.array[float]
    row_cdf: wp.array[float]  # cumulative sums, [height + 2]
    column_cdf: wp.array[float]  # cumulative sums of each row, [height + 1, width + 1], flat
    to_local: wp.mat33  # from world directions to those of the map
    scale: float  # factor of the radiance


@wp.struct
class Lights:
    """All lights of a scene."""

    records: wp.array[LightRecord]
    count: int
    background: int  # number of the light that escaping rays see; -1: none
    environment: Environment


@wp.struct
class LightSample:
    """A direction to a light. `radiance` / `pdf` is what arrives if nothing is in the way; `pdf` 0: no light arrives."""

    wi: wp.vec3
    radiance: wp.vec3
    pdf: float
    delta: int  # 1: no ray could hit the light
    p: wp.vec3  # point on the light, moved off its surface; unused for distant lights
    distant: int  # 1: infinitely far away


@wp.func
def area_pdf(light: LightRecord, distance_sq: float, cos_l: float) -> float:
    """Density [1/sr] of a direction to a point drawn uniformly on an area light; `cos_l`: cosine at the light."""
    return light.area_density * distance_sq / cos_l
