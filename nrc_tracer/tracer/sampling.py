"""Mappings from the unit square to disks, hemispheres and spheres, orthonormal frames, and the weights of multiple importance
sampling (PBRT, 4th ed., appendix A).
"""

import warp as wp

from nrc_tracer.device.constants import QUARTER_PI


@wp.struct
class Frame:
    """A right-handed orthonormal frame: tangent s, bitangent t, normal n."""

    s: wp.vec3
    t: wp.vec3
    n: wp.vec3


@wp.func
def frame_from_normal(n: wp.vec3) -> Frame:
    """A frame around the unit vector n (Duff et al., *Building an Orthonormal Basis, Revisited*, JCGT 2017)."""
    sign = wp.where(n[2] >= 0.0, 1.0, -1.0)
    a = -1.0 / (sign + n[2])
    b = n[0] * n[1] * a
    frame = Frame()
    frame.s = wp.vec3(1.0 + sign * n[0] * n[0] * a, sign * b, -sign * n[0])
    frame.t = wp.vec3(b, sign + n[1] * n[1] * a, -n[1])
    frame.n = n
    return frame


@wp.func
def to_local(frame: Frame, v: wp.vec3) -> wp.vec3:
    """Coordinates of `v` in the frame."""
    return wp.vec3(wp.dot(v, frame.s), wp.dot(v, frame.t), wp.dot(v, frame.n))


@wp.func
def to_world(frame: Frame, v: wp.vec3) -> wp.vec3:
    """The vector whose coordinates in the frame are `v`."""
    return frame.s * v[0] + frame.t * v[1] + frame.n * v[2]


@wp.func
def concentric_disk(u: wp.vec2) -> wp.vec2:
    """Map the unit square to the unit disk, area-preserving (Shirley and Chiu)."""
    x = 2.0 * u[0] - 1.0
    y = 2.0 * u[1] - 1.0
    wide = wp.abs(x) > wp.abs(y)
    r = wp.where(wide, x, y)
    if r == 0.0:
        return wp.vec2(0.0)
    # The angle from the nearer axis is at most 45 degrees, where Taylor series of these degrees are exact in float32
    a = QUARTER_PI * wp.where(wide, y, x) / r
    q = a * a
    s = r * a * (1.0 + q * (-0.16666667 + q * (8.3333333e-3 + q * (-1.9841270e-4 + q * 2.7557319e-6))))
    c = r * (1.0 + q * (-0.5 + q * (0.041666667 + q * (-1.3888889e-3 + q * 2.4801587e-5))))
    return wp.where(wide, wp.vec2(c, s), wp.vec2(s, c))


@wp.func
def cosine_hemisphere(u: wp.vec2) -> wp.vec3:
    """A direction around +z with density cos(theta) / pi."""
    d = concentric_disk(u)
    return wp.vec3(d[0], d[1], wp.sqrt(wp.max(0.0, 1.0 - d[0] * d[0] - d[1] * d[1])))


@wp.func
def uniform_sphere(u: wp.vec2) -> wp.vec3:
    """A direction with density 1 / 4 pi."""
    z = 1.0 - 2.0 * u[0]
    r = wp.sqrt(wp.max(0.0, 1.0 - z * z))
    phi = wp.TAU * u[1]
    return wp.vec3(r * wp.cos(phi), r * wp.sin(phi), z)


@wp.func
def max_component(v: wp.vec3) -> float:
    """The largest component."""
    return wp.max(v[0], wp.max(v[1], v[2]))


@wp.func
def power_heuristic(pdf: float, other: float) -> float:
    """Veach's weight of a sample drawn with density `pdf` that another strategy would have drawn with density `other`."""
    if pdf > 1.0e18:
        return 1.0
    a = pdf * pdf
    return a / (a + other * other)
