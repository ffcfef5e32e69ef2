"""Looking up the textured parameters of a lobe at a point of a surface."""

import warp as wp

from nrc_tracer.tracer.bsdf.lobe import (
    CONDUCTOR,
    DIFFUSE,
    PRINCIPLED,
    PRINCIPLED_TRANSMISSIVE,
    ROUGH_CONDUCTOR,
    Lobe,
    LobeRecord,
)
from nrc_tracer.tracer.bsdf.principled_lobe import resolve_principled
from nrc_tracer.tracer.textures import Param, TexturePoint, Textures, evaluate, evaluate_scalar

MIN_ALPHA = wp.constant(1.0e-4)


@wp.func
def resolve(textures: Textures, record: LobeRecord, more: wp.array[Param], at: TexturePoint) -> Lobe:
    """The lobe at a point of a surface. Its colour is not finite if any of its parameters is not."""
    if record.kind == PRINCIPLED or record.kind == PRINCIPLED_TRANSMISSIVE:
        return resolve_principled(textures, record, more, at)
    lobe = Lobe()
    lobe.kind = record.kind
    lobe.color = evaluate(textures, record.color, at)
    if record.kind == DIFFUSE:
        return lobe
    lobe.second = evaluate(textures, record.second, at)
    lobe.ior = record.ior
    lobe.inner_reflectance = record.inner_reflectance
    lobe.nonlinear = record.nonlinear
    lobe.table = record.table
    if record.kind == CONDUCTOR or record.kind == ROUGH_CONDUCTOR:
        lobe.eta = evaluate(textures, record.eta, at)
        lobe.k = evaluate(textures, record.k, at)
    lobe.facets.distribution = record.distribution
    alpha_u = evaluate_scalar(textures, record.alpha_u, at)
    alpha_v = evaluate_scalar(textures, record.alpha_v, at)
    lobe.facets.alpha_u = wp.max(MIN_ALPHA, alpha_u)
    lobe.facets.alpha_v = wp.max(MIN_ALPHA, alpha_v)
    # A comparison could hide a value that is not finite; the path tracer checks the colour
    rest = wp.dot(lobe.second + lobe.eta + lobe.k, wp.vec3(1.0)) + alpha_u + alpha_v
    if not wp.isfinite(rest):
        lobe.color = wp.vec3(wp.NAN)
    return lobe
