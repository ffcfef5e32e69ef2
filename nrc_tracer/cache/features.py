"""The features of a vertex that the cache takes as its input, as numbers in [0, 1]."""

import warp as wp

from nrc_tracer.device.constants import INV_2PI, INV_PI

FEATURES = 14
"""Columns of a vertex's features: position 3, direction 2, normal 2, roughness 1, diffuse and specular reflectance 3 + 3."""

DIFFUSE, SPECULAR = slice(8, 11), slice(11, 14)
"""Columns of the diffuse and of the specular reflectance."""


@wp.struct
class SceneBox:
    """The cube that the cache maps to [0, 1]^3: position p is mapped to (p - low) * scale."""

    low: wp.vec3
    scale: float


@wp.func
def spherical(d: wp.vec3) -> wp.vec2:
    """A direction's polar angle and azimuth, both mapped to [0, 1]."""
    return wp.vec2(wp.acos(wp.clamp(d[2], -1.0, 1.0)) * INV_PI, wp.atan2(d[1], d[0]) * INV_2PI + 0.5)


@wp.func
def write_features(
    features: wp.array2d[float],
    row: int,
    box: SceneBox,
    p: wp.vec3,
    wo: wp.vec3,
    n: wp.vec3,
    roughness: float,
    diffuse: wp.vec3,
    specular: wp.vec3,
):
    """Write a vertex's features: position, direction to the viewer, shading normal, roughness and reflectances."""
    at = (p - box.low) * box.scale
    direction = spherical(wo)
    normal = spherical(n)
    for i in range(3):
        features[row, i] = wp.clamp(at[i], 0.0, 1.0)
        features[row, 8 + i] = diffuse[i]
        features[row, 11 + i] = specular[i]
    for i in range(2):
        features[row, 3 + i] = direction[i]
        features[row, 5 + i] = normal[i]
    features[row, 7] = 1.0 - wp.exp(-roughness)
