"""Sampling and evaluation of any lobe: the functions that the path tracers call."""

import warp as wp

from nrc_tracer.tracer.bsdf.conductor import evaluate_rough_conductor, sample_conductor, sample_rough_conductor
from nrc_tracer.tracer.bsdf.dielectric import (
    evaluate_rough_dielectric,
    sample_dielectric,
    sample_rough_dielectric,
    sample_thin_dielectric,
)
from nrc_tracer.tracer.bsdf.diffuse import evaluate_diffuse, sample_diffuse
from nrc_tracer.tracer.bsdf.fresnel import fresnel_dielectric
from nrc_tracer.tracer.bsdf.lobe import (
    CONDUCTOR,
    DIELECTRIC,
    DIFFUSE,
    PLASTIC,
    PRINCIPLED,
    PRINCIPLED_TRANSMISSIVE,
    ROUGH_CONDUCTOR,
    ROUGH_DIELECTRIC,
    ROUGH_DIFFUSE,
    ROUGH_PLASTIC,
    THIN_DIELECTRIC,
    Lobe,
    LobeSample,
)
from nrc_tracer.tracer.bsdf.plastic import (
    coat_probability,
    evaluate_plastic,
    evaluate_rough_plastic,
    sample_plastic,
    sample_rough_plastic,
)
from nrc_tracer.tracer.bsdf.principled import evaluate_principled, sample_principled
from nrc_tracer.tracer.bsdf.rough_diffuse import evaluate_rough_diffuse, sample_rough_diffuse


@wp.func
def evaluate_lobe(tables: wp.array[float], lobe: Lobe, wo: wp.vec3, wi: wp.vec3) -> wp.vec4:
    """(f cos, pdf) of the lobe's smooth part; zero for delta functions."""
    if lobe.kind == DIFFUSE:
        return evaluate_diffuse(lobe, wo, wi)
    if lobe.kind == ROUGH_CONDUCTOR:
        return evaluate_rough_conductor(lobe, wo, wi)
    if lobe.kind == ROUGH_DIELECTRIC:
        return evaluate_rough_dielectric(lobe, wo, wi)
    if lobe.kind == PLASTIC:
        return evaluate_plastic(lobe, wo, wi)
    if lobe.kind == ROUGH_PLASTIC:
        return evaluate_rough_plastic(tables, lobe, wo, wi)
    if lobe.kind == PRINCIPLED or lobe.kind == PRINCIPLED_TRANSMISSIVE:
        return evaluate_principled(lobe, wo, wi)
    if lobe.kind == ROUGH_DIFFUSE:
        return evaluate_rough_diffuse(lobe, wo, wi)
    return wp.vec4(0.0)


@wp.func
def sample_lobe(tables: wp.array[float], lobe: Lobe, wo: wp.vec3, u_lobe: float, u: wp.vec2) -> LobeSample:
    """Sample a direction; `pdf` 0 means that the path is absorbed."""
    if lobe.kind == DIFFUSE:
        return sample_diffuse(lobe, wo, u)
    if lobe.kind == ROUGH_CONDUCTOR:
        return sample_rough_conductor(lobe, wo, u)
    if lobe.kind == ROUGH_PLASTIC:
        return sample_rough_plastic(tables, lobe, wo, u_lobe, u)
    if lobe.kind == PLASTIC:
        return sample_plastic(lobe, wo, u_lobe, u)
    if lobe.kind == DIELECTRIC:
        return sample_dielectric(lobe, wo, u_lobe)
    if lobe.kind == CONDUCTOR:
        return sample_conductor(lobe, wo)
    if lobe.kind == ROUGH_DIELECTRIC:
        return sample_rough_dielectric(lobe, wo, u_lobe, u)
    if lobe.kind == THIN_DIELECTRIC:
        return sample_thin_dielectric(lobe, wo, u_lobe)
    if lobe.kind == PRINCIPLED or lobe.kind == PRINCIPLED_TRANSMISSIVE:
        return sample_principled(lobe, wo, u_lobe, u)
    if lobe.kind == ROUGH_DIFFUSE:
        return sample_rough_diffuse(lobe, wo, u)
    return LobeSample()


@wp.func
def delta_probability(lobe: Lobe, wo: wp.vec3) -> float:
    """Probability with which `sample_lobe` samples a delta function.

    It does so if and only if `u_lobe < delta_probability`, so a caller can tell beforehand which part will be sampled. The
    probability is 1 below the surface of plastic and metal, which scatter nothing there: the sample is absorbed.
    """
    if lobe.kind == CONDUCTOR or lobe.kind == DIELECTRIC or lobe.kind == THIN_DIELECTRIC:
        return 1.0
    if lobe.kind == PLASTIC:
        if wo[2] <= 0.0:
            return 1.0
        return coat_probability(lobe, fresnel_dielectric(wo[2], lobe.ior).reflectance)
    return 0.0
