"""Rough diffuse reflection: Oren and Nayar, *Generalization of Lambert's Reflectance Model* (SIGGRAPH 1994).

The surface consists of V-shaped grooves of Lambertian facets. The full model includes shadowing, masking and light that two
facets reflect; the qualitative model leaves out the second reflection and a small term. Roughness is given as the alpha of the
microfacet models, as in Mitsuba's `roughdiffuse`: the standard deviation of the facets' slope angle is sigma = alpha / sqrt(2).

A white surface can reflect up to 5 % more light than arrives, at grazing angles, because the formulas are fits.
"""

import warp as wp

from nrc_tracer.device.constants import INV_PI
from nrc_tracer.tracer.bsdf.diffuse import sample_diffuse
from nrc_tracer.tracer.bsdf.lobe import Lobe, LobeSample, with_pdf


@wp.func
def sine(w: wp.vec3) -> float:
    """Sine of the angle between a direction and the normal."""
    return wp.sqrt(wp.min(w[0] * w[0] + w[1] * w[1], 1.0))


@wp.func
def rough_diffuse_factor(lobe: Lobe, wo: wp.vec3, wi: wp.vec3) -> wp.vec3:
    """The BRDF times pi, for directions above the surface. `lobe.nonlinear` 1 selects the qualitative model."""
    sigma2 = 0.5 * lobe.facets.alpha_u * lobe.facets.alpha_u
    ratio = sigma2 / (sigma2 + 0.09)
    c1 = 1.0 - 0.5 * sigma2 / (sigma2 + 0.33)
    sin_o = sine(wo)
    sin_i = sine(wi)
    # The larger of the two angles has the smaller cosine
    sin_alpha = wp.max(sin_o, sin_i)
    sin_beta = wp.min(sin_o, sin_i)
    cos_alpha = wp.min(wo[2], wi[2])
    cos_beta = wp.max(wo[2], wi[2])
    tan_beta = sin_beta / cos_beta
    cos_phi = float(0.0)
    if sin_beta > 1.0e-4:
        cos_phi = wp.clamp((wo[0] * wi[0] + wo[1] * wi[1]) / (sin_o * sin_i), -1.0, 1.0)
    if lobe.nonlinear != 0:
        return lobe.color * (c1 + 0.45 * ratio * wp.max(cos_phi, 0.0) * sin_alpha * tan_beta)
    beta = wp.acos(wp.min(cos_beta, 1.0)) * INV_PI  # angles in units of pi
    alpha = wp.acos(wp.min(cos_alpha, 1.0)) * INV_PI
    groove = 4.0 * alpha * beta
    tan_half = (sin_alpha + sin_beta) / (cos_alpha + cos_beta)
    c2 = 0.45 * ratio * (sin_alpha - wp.where(cos_phi < 0.0, 8.0 * beta * beta * beta, 0.0))
    c3 = 0.125 * ratio * groove * groove
    single = c1 + cos_phi * c2 * tan_beta + (1.0 - wp.abs(cos_phi)) * c3 * tan_half
    double = 0.17 * sigma2 / (sigma2 + 0.13) * (1.0 - cos_phi * 4.0 * beta * beta)
    return lobe.color * single + wp.cw_mul(lobe.color, lobe.color) * double


@wp.func
def rough_diffuse_albedo(lobe: Lobe, cosine: float) -> wp.vec3:
    """Reflectance towards a viewer at an angle with `cosine`: within 0.012 for the full model, exact for the qualitative one."""
    sigma2 = 0.5 * lobe.facets.alpha_u * lobe.facets.alpha_u
    ratio = sigma2 / (sigma2 + 0.09)
    c1 = 1.0 - 0.5 * sigma2 / (sigma2 + 0.33)
    if lobe.nonlinear != 0:
        # The integral of max(cos phi, 0) sin alpha tan beta in closed form
        s = wp.sqrt(wp.max(1.0 - cosine * cosine, 0.0))
        integral = s * (wp.acos(wp.min(cosine, 1.0)) - s * cosine)
        integral += 2.0 / 3.0 * (1.0 - s * s * s) * s / wp.max(cosine, 1.0e-6)
        return lobe.color * (c1 + 0.45 * ratio * integral * INV_PI)
    # The integral of the terms with C2 and C3, fitted by a cubic that vanishes at normal incidence
    fit = (1.0 - cosine) * (0.16551 + cosine * (-0.20656 + cosine * 0.07346))
    double = 0.17 * sigma2 / (sigma2 + 0.13)
    return lobe.color * (c1 + ratio * fit) + wp.cw_mul(lobe.color, lobe.color) * double


@wp.func
def evaluate_rough_diffuse(lobe: Lobe, wo: wp.vec3, wi: wp.vec3) -> wp.vec4:
    """(f cos, pdf) of reflection."""
    if wo[2] <= 0.0 or wi[2] <= 0.0:
        return wp.vec4(0.0)
    pdf = wi[2] * INV_PI
    return with_pdf(rough_diffuse_factor(lobe, wo, wi) * pdf, pdf)


@wp.func
def sample_rough_diffuse(lobe: Lobe, wo: wp.vec3, u: wp.vec2) -> LobeSample:
    """Sample with a density proportional to the cosine."""
    s = sample_diffuse(lobe, wo, u)
    if s.pdf > 0.0:
        s.weight = rough_diffuse_factor(lobe, wo, s.wi)
    return s
