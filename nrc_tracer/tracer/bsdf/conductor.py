"""Metals: a mirror with the Fresnel reflectance of a complex index of refraction, smooth or made of microfacets."""

import warp as wp

from nrc_tracer.tracer.bsdf.fresnel import fresnel_conductor, reflect
from nrc_tracer.tracer.bsdf.lobe import Lobe, LobeSample, with_pdf
from nrc_tracer.tracer.bsdf.microfacet import masking, normal_density, sample_visible_normal


@wp.func
def sample_conductor(lobe: Lobe, wo: wp.vec3) -> LobeSample:
    """Reflect at the shading normal."""
    s = LobeSample()
    s.eta = 1.0
    if wo[2] <= 0.0:
        return s
    s.wi = wp.vec3(-wo[0], -wo[1], wo[2])
    s.weight = wp.cw_mul(lobe.color, fresnel_conductor(wo[2], lobe.eta, lobe.k))
    s.pdf = 1.0
    s.delta = 1
    return s


@wp.func
def evaluate_rough_conductor(lobe: Lobe, wo: wp.vec3, wi: wp.vec3) -> wp.vec4:
    """(f cos, pdf) of the Torrance-Sparrow model (Walter et al., 2007, eq. 20)."""
    if wo[2] <= 0.0 or wi[2] <= 0.0:
        return wp.vec4(0.0)
    m = wp.normalize(wo + wi)
    pdf = normal_density(lobe.facets, m) * masking(lobe.facets, wo, m) / (4.0 * wo[2])
    fresnel = wp.cw_mul(lobe.color, fresnel_conductor(wp.dot(wo, m), lobe.eta, lobe.k))
    return with_pdf(fresnel * (pdf * masking(lobe.facets, wi, m)), pdf)


@wp.func
def sample_rough_conductor(lobe: Lobe, wo: wp.vec3, u: wp.vec2) -> LobeSample:
    """Reflect at a visible microfacet normal."""
    s = LobeSample()
    s.eta = 1.0
    if wo[2] <= 0.0:
        return s
    m = sample_visible_normal(lobe.facets, wo, u)
    cos_m = wp.dot(wo, m)
    wi = reflect(wo, m)
    if wi[2] <= 0.0 or cos_m <= 0.0:
        return s
    s.wi = wi
    s.pdf = normal_density(lobe.facets, m) * masking(lobe.facets, wo, m) / (4.0 * wo[2])
    s.weight = wp.cw_mul(lobe.color, fresnel_conductor(cos_m, lobe.eta, lobe.k)) * masking(lobe.facets, wi, m)
    return s
