"""Lambertian reflection."""

import warp as wp

from nrc_tracer.device.constants import INV_PI
from nrc_tracer.tracer.bsdf.lobe import Lobe, LobeSample, with_pdf
from nrc_tracer.tracer.sampling import cosine_hemisphere


@wp.func
def evaluate_diffuse(lobe: Lobe, wo: wp.vec3, wi: wp.vec3) -> wp.vec4:
    """(f cos, pdf) of reflection."""
    if wo[2] <= 0.0 or wi[2] <= 0.0:
        return wp.vec4(0.0)
    pdf = wi[2] * INV_PI
    return with_pdf(lobe.color * pdf, pdf)


@wp.func
def sample_diffuse(lobe: Lobe, wo: wp.vec3, u: wp.vec2) -> LobeSample:
    """Sample with a density proportional to the cosine."""
    s = LobeSample()
    s.eta = 1.0
    if wo[2] <= 0.0:
        return s
    s.wi = cosine_hemisphere(u)
    s.pdf = s.wi[2] * INV_PI
    s.weight = lobe.color
    return s
