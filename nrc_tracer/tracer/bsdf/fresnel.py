"""Reflection and refraction at smooth boundaries."""

import warp as wp


@wp.struct
class DielectricFresnel:
    """Reflection and refraction of light that arrives from one side at a boundary between two dielectrics."""

    reflectance: float
    cos_t: float  # cosine of the refracted direction, sign opposite to the incident cosine
    eta_t: float  # relative index of refraction: transmitted side over incident side


@wp.func
def fresnel_dielectric(cos_i: float, eta: float) -> DielectricFresnel:
    """Unpolarised Fresnel reflectance. `eta`: index behind the surface over index in front; `cos_i` < 0: light from behind."""
    f = DielectricFresnel()
    f.eta_t = wp.where(cos_i >= 0.0, eta, 1.0 / eta)
    sin2_t = (1.0 - cos_i * cos_i) / (f.eta_t * f.eta_t)
    if sin2_t >= 1.0:
        f.reflectance = 1.0
        f.cos_t = 0.0
        return f
    c_i = wp.abs(cos_i)
    c_t = wp.sqrt(1.0 - sin2_t)
    parallel = (f.eta_t * c_i - c_t) / (f.eta_t * c_i + c_t)
    perpendicular = (c_i - f.eta_t * c_t) / (c_i + f.eta_t * c_t)
    f.reflectance = 0.5 * (parallel * parallel + perpendicular * perpendicular)
    f.cos_t = wp.where(cos_i >= 0.0, -c_t, c_t)
    return f


@wp.func
def fresnel_conductor_channel(cos_i: float, eta: float, k: float) -> float:
    """Unpolarised reflectance of a conductor with index eta + i k (Born and Wolf, *Principles of Optics*, 14.2)."""
    c2 = cos_i * cos_i
    s2 = 1.0 - c2
    t0 = eta * eta - k * k - s2
    a2b2 = wp.sqrt(wp.max(0.0, t0 * t0 + 4.0 * eta * eta * k * k))
    a = wp.sqrt(wp.max(0.0, 0.5 * (a2b2 + t0)))
    t1 = a2b2 + c2
    t2 = 2.0 * a * cos_i
    r_s = (t1 - t2) / (t1 + t2)
    t3 = c2 * a2b2 + s2 * s2
    t4 = t2 * s2
    return 0.5 * r_s * (1.0 + (t3 - t4) / (t3 + t4))


@wp.func
def fresnel_conductor(cos_i: float, eta: wp.vec3, k: wp.vec3) -> wp.vec3:
    """Reflectance of a conductor, for each colour channel."""
    return wp.vec3(
        fresnel_conductor_channel(cos_i, eta[0], k[0]),
        fresnel_conductor_channel(cos_i, eta[1], k[1]),
        fresnel_conductor_channel(cos_i, eta[2], k[2]),
    )


@wp.func
def reflect(w: wp.vec3, m: wp.vec3) -> wp.vec3:
    """Mirror `w` about `m`; both point away from the surface."""
    return m * (2.0 * wp.dot(w, m)) - w


@wp.func
def connecting_normal(wo: wp.vec3, wi: wp.vec3, eta_t: float) -> wp.vec3:
    """The microfacet normal on the upper side that refracts `wo` to `wi`, or reflects it (`eta_t` = 1); zero if there is none."""
    m = wo + wi * eta_t
    if wp.length_sq(m) < 1.0e-12:
        return wp.vec3(0.0)
    m = wp.normalize(m)
    if m[2] < 0.0:
        m = -m
    return m


@wp.func
def refract(w: wp.vec3, m: wp.vec3, cos_t: float, eta_t: float) -> wp.vec3:
    """The refraction of `w` at a boundary with normal `m`, with `cos_t` and `eta_t` of `fresnel_dielectric`."""
    inverse = 1.0 / eta_t
    return m * (wp.dot(w, m) * inverse + cos_t) - w * inverse
