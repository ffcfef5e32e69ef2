"""Microfacet distributions: anisotropic GGX and Beckmann with Smith's separable shadowing, and sampling of visible normals.

Directions are local, the macroscopic normal is +z. Sources: Walter et al., *Microfacet Models for Refraction through Rough
Surfaces* (EGSR 2007); Heitz and d'Eon, *Importance Sampling Microfacet-Based BSDFs using the Distribution of Visible
Normals* (EGSR 2014); Dupuy and Benyoub, *Sampling Visible GGX Normals with Spherical Caps* (HPG 2023).
"""

import warp as wp

from nrc_tracer.device.constants import INV_PI, INV_SQRT_PI
from nrc_tracer.tracer.vocabulary import Distribution

BECKMANN = wp.constant(int(Distribution.BECKMANN))


@wp.struct
class Microfacets:
    """A rough surface: its distribution of normals, and its roughness along both tangents."""

    distribution: int
    alpha_u: float
    alpha_v: float


@wp.func
def normal_density(f: Microfacets, m: wp.vec3) -> float:
    """D(m), the density of microfacet normals [1/sr]."""
    cos2 = m[2] * m[2]
    if m[2] <= 0.0:
        return 0.0
    x = m[0] / f.alpha_u
    y = m[1] / f.alpha_v
    slope2 = x * x + y * y
    area = f.alpha_u * f.alpha_v
    if f.distribution == BECKMANN:
        return wp.exp(-slope2 / cos2) * INV_PI / (area * cos2 * cos2)
    q = slope2 + cos2
    return INV_PI / (area * q * q)


@wp.func
def masking(f: Microfacets, w: wp.vec3, m: wp.vec3) -> float:
    """Smith's G1: the fraction of the microfacets with normal `m` that is visible from `w`; 0 where `w` is behind them."""
    if wp.dot(w, m) * w[2] <= 0.0:
        return 0.0
    x = f.alpha_u * w[0]
    y = f.alpha_v * w[1]
    tan2 = (x * x + y * y) / (w[2] * w[2])
    if tan2 <= 0.0:
        return 1.0
    if f.distribution == BECKMANN:
        # Exact, not Walter et al.'s rational fit (0.35 % off): visible normals are sampled with exactly this masking
        tan = wp.sqrt(tan2)
        a = 1.0 / tan
        return 2.0 / (1.0 + wp.erf(a) + tan * INV_SQRT_PI * wp.exp(-a * a))
    return 2.0 / (1.0 + wp.sqrt(1.0 + tan2))


@wp.func
def visible_normal_pdf(f: Microfacets, w: wp.vec3, m: wp.vec3) -> float:
    """Density of `sample_visible_normal` [1/sr]; `w` above the surface."""
    return normal_density(f, m) * masking(f, w, m) * wp.abs(wp.dot(w, m)) / wp.abs(w[2])


@wp.func
def sample_visible_slope_beckmann(cos_i: float, u: wp.vec2) -> wp.vec2:
    """Slopes of a visible normal of a Beckmann surface of roughness 1, seen from (sin_i, 0, cos_i), by inverting the CDF.

    The slope along the view is found in the domain x = erf(slope) by bisection-guarded Newton steps on
    F(x) = 1 + x + tan_i / sqrt(pi) exp(-erfinv(x)^2), which rises monotonically up to x = erf(cot_i).
    """
    u_y = wp.clamp(u[1], 1.0e-6, 1.0 - 1.0e-6)
    sin_i = wp.sqrt(wp.max(0.0, 1.0 - cos_i * cos_i))
    if sin_i < 1.0e-4:
        r = wp.sqrt(-wp.log(wp.max(1.0 - u[0], 1.0e-12)))
        phi = wp.TAU * u_y
        return wp.vec2(r * wp.cos(phi), r * wp.sin(phi))
    tan_i = sin_i / cos_i
    cot_i = cos_i / sin_i
    # F at the largest slope that faces the viewer
    low = float(-1.0)
    high = float(wp.erf(cot_i))
    total = 1.0 + high + tan_i * INV_SQRT_PI * wp.exp(-cot_i * cot_i)
    target = wp.clamp(u[0], 1.0e-6, 1.0 - 1.0e-6) * total
    # Start from a fit of the inverse by Heitz and d'Eon's observation that it is close to a power of 1 - u
    x = float(high - (1.0 + high) * wp.pow(1.0 - u[0], 1.0 + 0.37 * sin_i))
    for _i in range(12):
        if not (x > low and x < high):
            x = 0.5 * (low + high)
        slope = wp.erfinv(x)
        value = 1.0 + x + tan_i * INV_SQRT_PI * wp.exp(-slope * slope) - target
        if wp.abs(value) < 1.0e-6 * total:
            break
        if value > 0.0:
            high = x
        else:
            low = x
        x = x - value / (1.0 - slope * tan_i)
    x = wp.clamp(x, -1.0 + 1.0e-6, 1.0 - 1.0e-6)
    return wp.vec2(wp.erfinv(x), wp.erfinv(2.0 * u_y - 1.0))


@wp.func
def sample_visible_normal(f: Microfacets, w: wp.vec3, u: wp.vec2) -> wp.vec3:
    """Draw a microfacet normal from the distribution of those visible from `w` (above the surface)."""
    # Stretch the view direction to a surface of roughness 1
    v = wp.normalize(wp.vec3(f.alpha_u * w[0], f.alpha_v * w[1], w[2]))
    if f.distribution == BECKMANN:
        slope = sample_visible_slope_beckmann(v[2], u)
        length = wp.sqrt(v[0] * v[0] + v[1] * v[1])
        c = float(1.0)
        s = float(0.0)
        if length > 1.0e-7:
            c = v[0] / length
            s = v[1] / length
        x = (c * slope[0] - s * slope[1]) * f.alpha_u
        y = (s * slope[0] + c * slope[1]) * f.alpha_v
        return wp.normalize(wp.vec3(-x, -y, 1.0))
    # GGX: a point on the spherical cap above -v, then unstretch
    phi = wp.TAU * u[0]
    z = (1.0 - u[1]) * (1.0 + v[2]) - v[2]
    r = wp.sqrt(wp.clamp(1.0 - z * z, 0.0, 1.0))
    h = wp.vec3(r * wp.cos(phi), r * wp.sin(phi), z) + v
    return wp.normalize(wp.vec3(h[0] * f.alpha_u, h[1] * f.alpha_v, wp.max(h[2], 1.0e-7)))
