"""Glass: smooth, rough (Walter et al., 2007) and thin. Weights are those of radiance, which refraction scales by 1 / eta^2."""

import warp as wp

from nrc_tracer.tracer.bsdf.fresnel import connecting_normal, fresnel_dielectric, reflect, refract
from nrc_tracer.tracer.bsdf.lobe import Lobe, LobeSample, with_pdf
from nrc_tracer.tracer.bsdf.microfacet import masking, normal_density, sample_visible_normal, visible_normal_pdf


@wp.func
def sample_dielectric(lobe: Lobe, wo: wp.vec3, u_lobe: float) -> LobeSample:
    """Reflect with the probability of the Fresnel reflectance, else refract."""
    s = LobeSample()
    s.eta = 1.0
    s.delta = 1
    f = fresnel_dielectric(wo[2], lobe.ior)
    if u_lobe < f.reflectance:
        s.wi = wp.vec3(-wo[0], -wo[1], wo[2])
        s.weight = lobe.color
        s.pdf = f.reflectance
    else:
        inverse = 1.0 / f.eta_t
        s.wi = wp.vec3(-wo[0] * inverse, -wo[1] * inverse, f.cos_t)
        s.weight = lobe.second * (inverse * inverse)
        s.pdf = 1.0 - f.reflectance
        s.eta = f.eta_t
    return s


@wp.func
def sample_thin_dielectric(lobe: Lobe, wo: wp.vec3, u_lobe: float) -> LobeSample:
    """A pane, which reflects R' = R + T R T + T R^3 T + ... = 2 R / (1 + R) and transmits the rest without refraction."""
    s = LobeSample()
    s.eta = 1.0
    s.delta = 1
    r = fresnel_dielectric(wp.abs(wo[2]), lobe.ior).reflectance
    r = 2.0 * r / (1.0 + r)
    if u_lobe < r:
        s.wi = wp.vec3(-wo[0], -wo[1], wo[2])
        s.weight = lobe.color
        s.pdf = r
    else:
        s.wi = -wo
        s.weight = lobe.second
        s.pdf = 1.0 - r
    return s


@wp.func
def evaluate_rough_dielectric(lobe: Lobe, wo: wp.vec3, wi: wp.vec3) -> wp.vec4:
    """(f cos, pdf) of reflection and refraction (Walter et al., 2007, eqs. 20 and 21)."""
    if wo[2] == 0.0 or wi[2] == 0.0:
        return wp.vec4(0.0)
    is_reflection = wo[2] * wi[2] > 0.0
    eta_t = wp.where(wo[2] > 0.0, lobe.ior, 1.0 / lobe.ior)

    m = connecting_normal(wo, wi, wp.where(is_reflection, 1.0, eta_t))
    o_m = wp.dot(wo, m)
    i_m = wp.dot(wi, m)
    if o_m * wo[2] <= 0.0 or i_m * wi[2] <= 0.0:
        return wp.vec4(0.0)

    reflectance = fresnel_dielectric(o_m, lobe.ior).reflectance
    upper = wp.where(wo[2] > 0.0, wo, -wo)
    pdf_m = visible_normal_pdf(lobe.facets, upper, m)
    g_i = masking(lobe.facets, wi, m)
    if is_reflection:
        pdf = pdf_m * reflectance / (4.0 * wp.abs(i_m))
        return with_pdf(lobe.color * (pdf * g_i), pdf)
    root = o_m + eta_t * i_m
    jacobian = eta_t * eta_t * wp.abs(i_m) / (root * root)
    pdf = pdf_m * (1.0 - reflectance) * jacobian
    return with_pdf(lobe.second * (pdf * g_i / (eta_t * eta_t)), pdf)


@wp.func
def sample_rough_dielectric(lobe: Lobe, wo: wp.vec3, u_lobe: float, u: wp.vec2) -> LobeSample:
    """Choose a visible microfacet normal, then reflect or refract at it."""
    s = LobeSample()
    s.eta = 1.0
    if wo[2] == 0.0:
        return s
    upper = wp.where(wo[2] > 0.0, wo, -wo)
    m = sample_visible_normal(lobe.facets, upper, u)
    o_m = wp.dot(wo, m)
    if o_m * wo[2] <= 0.0:
        return s
    f = fresnel_dielectric(o_m, lobe.ior)
    pdf_m = normal_density(lobe.facets, m) * masking(lobe.facets, upper, m) * wp.abs(o_m / wo[2])
    if u_lobe < f.reflectance:
        wi = reflect(wo, m)
        if wi[2] * wo[2] <= 0.0:
            return s
        s.wi = wi
        s.pdf = pdf_m * f.reflectance / (4.0 * wp.abs(o_m))
        s.weight = lobe.color * masking(lobe.facets, wi, m)
    else:
        wi = refract(wo, m, f.cos_t, f.eta_t)
        if wi[2] * wo[2] >= 0.0:
            return s
        i_m = wp.dot(wi, m)
        root = o_m + f.eta_t * i_m
        s.wi = wi
        s.pdf = pdf_m * (1.0 - f.reflectance) * f.eta_t * f.eta_t * wp.abs(i_m) / (root * root)
        s.weight = lobe.second * (masking(lobe.facets, wi, m) / (f.eta_t * f.eta_t))
        s.eta = f.eta_t
    return s
