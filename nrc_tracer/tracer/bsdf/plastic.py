"""Plastic: a diffuse base under a dielectric coat, smooth or rough.

The coat transmits (1 - F_o)(1 - F_i) / eta^2 to the base and back; the internal reflections at the coat are summed as a
geometric series (Mitsuba's `plastic` and `roughplastic`; after Weidlich and Wilkie, *Arbitrarily Layered Micro-Facet
Surfaces*, 2007). The rough coat's transmittance is tabulated by cosine: see `nrc_tracer.tracer.bsdf.coat`.
"""

import warp as wp

from nrc_tracer.device.constants import INV_PI
from nrc_tracer.tracer.bsdf.coat import TABLE_SIZE as COAT_TABLE_SIZE
from nrc_tracer.tracer.bsdf.fresnel import fresnel_dielectric, reflect
from nrc_tracer.tracer.bsdf.lobe import Lobe, LobeSample, with_pdf
from nrc_tracer.tracer.bsdf.microfacet import masking, normal_density, sample_visible_normal
from nrc_tracer.tracer.sampling import cosine_hemisphere

TABLE_SIZE = wp.constant(COAT_TABLE_SIZE)


@wp.func
def base_reflectance(lobe: Lobe) -> wp.vec3:
    """Reflectance of the base with all internal reflections, divided by eta^2."""
    inner = wp.vec3(lobe.inner_reflectance)
    if lobe.nonlinear != 0:
        inner = lobe.color * lobe.inner_reflectance
    return wp.cw_div(lobe.color, wp.vec3(1.0) - inner) / (lobe.ior * lobe.ior)


@wp.func
def coat_probability(lobe: Lobe, reflectance: float) -> float:
    """Probability of sampling the coat rather than the base."""
    coat = reflectance * (lobe.second[0] + lobe.second[1] + lobe.second[2])
    base = (1.0 - reflectance) * (lobe.color[0] + lobe.color[1] + lobe.color[2])
    return wp.where(coat + base > 0.0, coat / (coat + base), 1.0)


@wp.func
def evaluate_plastic(lobe: Lobe, wo: wp.vec3, wi: wp.vec3) -> wp.vec4:
    """(f cos, pdf) of the base; the smooth coat is a delta function."""
    if wo[2] <= 0.0 or wi[2] <= 0.0:
        return wp.vec4(0.0)
    f_o = fresnel_dielectric(wo[2], lobe.ior).reflectance
    f_i = fresnel_dielectric(wi[2], lobe.ior).reflectance
    cosine_pdf = wi[2] * INV_PI
    value = base_reflectance(lobe) * ((1.0 - f_o) * (1.0 - f_i) * cosine_pdf)
    return with_pdf(value, cosine_pdf * (1.0 - coat_probability(lobe, f_o)))


@wp.func
def sample_plastic(lobe: Lobe, wo: wp.vec3, u_lobe: float, u: wp.vec2) -> LobeSample:
    """Mirror at the coat or scatter at the base."""
    s = LobeSample()
    s.eta = 1.0
    if wo[2] <= 0.0:
        return s
    f_o = fresnel_dielectric(wo[2], lobe.ior).reflectance
    p_coat = coat_probability(lobe, f_o)
    if u_lobe < p_coat:
        s.wi = wp.vec3(-wo[0], -wo[1], wo[2])
        s.weight = lobe.second * (f_o / p_coat)
        s.pdf = p_coat
        s.delta = 1
    else:
        s.wi = cosine_hemisphere(u)
        f_i = fresnel_dielectric(s.wi[2], lobe.ior).reflectance
        s.weight = base_reflectance(lobe) * ((1.0 - f_o) * (1.0 - f_i) / (1.0 - p_coat))
        s.pdf = s.wi[2] * INV_PI * (1.0 - p_coat)
    return s


@wp.func
def coat_transmittance(table: wp.array[float], base: int, cosine: float) -> float:
    """The rough coat's transmittance towards `cosine`, linear between table entries."""
    x = wp.clamp(cosine, 0.0, 1.0) * float(TABLE_SIZE - 1)
    i = wp.min(int(x), TABLE_SIZE - 2)
    f = x - float(i)
    return table[base + i] * (1.0 - f) + table[base + i + 1] * f


@wp.func
def evaluate_rough_plastic(table: wp.array[float], lobe: Lobe, wo: wp.vec3, wi: wp.vec3) -> wp.vec4:
    """(f cos, pdf) of coat and base together."""
    if wo[2] <= 0.0 or wi[2] <= 0.0:
        return wp.vec4(0.0)
    t_o = coat_transmittance(table, lobe.table, wo[2])
    t_i = coat_transmittance(table, lobe.table, wi[2])
    m = wp.normalize(wo + wi)
    coat_pdf = normal_density(lobe.facets, m) * masking(lobe.facets, wo, m) / (4.0 * wo[2])
    fresnel = fresnel_dielectric(wp.dot(wo, m), lobe.ior).reflectance
    cosine_pdf = wi[2] * INV_PI
    value = lobe.second * (fresnel * coat_pdf * masking(lobe.facets, wi, m))
    value += base_reflectance(lobe) * (t_o * t_i * cosine_pdf)
    p_coat = coat_probability(lobe, 1.0 - t_o)
    return with_pdf(value, coat_pdf * p_coat + cosine_pdf * (1.0 - p_coat))


@wp.func
def sample_rough_plastic(table: wp.array[float], lobe: Lobe, wo: wp.vec3, u_lobe: float, u: wp.vec2) -> LobeSample:
    """Reflect at a visible normal of the coat or scatter at the base; the weight is that of both together."""
    s = LobeSample()
    s.eta = 1.0
    if wo[2] <= 0.0:
        return s
    t_o = coat_transmittance(table, lobe.table, wo[2])
    if u_lobe < coat_probability(lobe, 1.0 - t_o):
        s.wi = reflect(wo, sample_visible_normal(lobe.facets, wo, u))
    else:
        s.wi = cosine_hemisphere(u)
    value = evaluate_rough_plastic(table, lobe, wo, s.wi)
    s.pdf = value[3]
    if s.pdf > 0.0:
        s.weight = wp.vec3(value[0], value[1], value[2]) / s.pdf
    return s
