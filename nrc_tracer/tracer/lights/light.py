"""Lights on a device: the record that every light is flattened to, and the sample of a light.

Every kind of light has a file with its `sample` function and, where a ray can hit the light, a `pdf` function: the density
[1/sr] with which `sample` would have drawn that direction. Neither density includes the probability of choosing the light.
"""

import warp as wp

from nrc_tracer.tracer.lights.tree import LightNodes
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
    """One light."""

    kind: int
    index: int  # number of the triangle or sphere
    emission: Param  # radiance; intensity of point and spot lights; irradiance of directional ones
    p: wp.vec3  # position of point and spot lights
    d: wp.vec3  # unit vector along which spot and directional lights shine
    cos_full: float  # spot: cosine of the angle up to which it shines with full intensity
    cutoff: float  # spot: angle beyond which it is dark [rad]
    probability: float  # of choosing this light, or of the whole tree if the light is in it
    area_density: float  # triangle, sphere: 1 over the area
    trail: wp.uint64  # the way down the tree to the light's leaf
    part: float  # probability of the light in its leaf, which holds one or two; 0 if it is not in the tree


@wp.struct
class EnvironmentNode:
    """A node of the tree of cells; see `nrc_tracer.tracer.environment_tree.EnvironmentTree`."""

    value: float  # probability of the first half; mean density of a cell
    code: int


@wp.struct
class Environment:
    """An environment map, and the tree of cells from which its points are drawn."""

    width: int
    height: int
    bands: int  # of the polar angle, each as high as the distance of two rows of texels
    row_shift: float  # 0.5 if a row of texels lies in the middle of each band, 1 if the rows lie pole to pole
    texels: wp.array[wp.vec3]
    rows: int  # of blocks
    columns: int  # of blocks
    row_bits: int  # binary logarithm of a block's height [half texels]
    column_bits: int  # binary logarithm of a block's width [half texels]
    row_cdf: wp.array[float]  # cumulative probabilities of the rows of blocks, [rows + 1]
    column_cdf: wp.array[float]  # cumulative probabilities of the blocks in each row, [rows, columns + 1], flat
    nodes: wp.array[EnvironmentNode]  # the first are the blocks
    corners: wp.array[wp.vec4]  # of the bilinear cells
    to_local: wp.mat33  # from world directions to those of the map
    scale: float  # factor of the radiance


@wp.struct
class Lights:
    """All lights of a scene. Some are listed with constant probabilities, the others are chosen by walking down a tree."""

    records: wp.array[LightRecord]
    count: int  # of the lights that can be chosen
    listed: wp.array[int]  # numbers of the lights with constant probabilities
    listed_cdf: wp.array[float]  # cumulative probabilities of the listed lights, from 0 on
    listed_count: int
    nodes: LightNodes
    background: int  # number of the light that escaping rays see; -1: none
    environment: Environment


@wp.struct
class LightChoice:
    """A light, and the probability of choosing it."""

    index: int
    probability: float


@wp.struct
class LightSample:
    """A direction to a light. `sampled_radiance` / `pdf` arrives if nothing is in the way; `pdf` 0: no light arrives."""

    wi: wp.vec3
    radiance: wp.vec3
    pdf: float
    delta: int  # 1: no ray could hit the light
    p: wp.vec3  # point on the light, moved off its surface; of an environment map (u, v, 0)
    distant: int  # 1: infinitely far away
    mapped: int  # 1: `radiance` is still to be multiplied by the environment map's


@wp.func
def area_pdf(light: LightRecord, distance_sq: float, cos_l: float) -> float:
    """Density [1/sr] of a direction to a point drawn uniformly on an area light; `cos_l`: cosine at the light."""
    return light.area_density * distance_sq / cos_l
