"""Point and spot lights, which have no size: the direction to them is certain, and no ray hits them."""

import warp as wp

from nrc_tracer.tracer.lights.light import SPOT, LightRecord, LightSample


@wp.func
def spot_falloff(light: LightRecord, wi: wp.vec3) -> float:
    """Fraction of a spot light's intensity in the direction -`wi`, linear in the angle between full intensity and cutoff."""
    cos_theta = -wp.dot(light.d, wi)
    if cos_theta >= light.cos_full:
        return 1.0
    full = wp.acos(light.cos_full)
    beyond = light.cutoff - wp.acos(wp.clamp(cos_theta, -1.0, 1.0))
    return wp.max(0.0, beyond / wp.max(light.cutoff - full, 1.0e-6))


@wp.func
def sample_point(light: LightRecord, p: wp.vec3) -> LightSample:
    """The direction to a point or spot light."""
    s = LightSample()
    s.delta = 1
    to_light = light.p - p
    d2 = wp.length_sq(to_light)
    if d2 == 0.0:
        return s
    s.pdf = 1.0
    s.wi = to_light / wp.sqrt(d2)
    s.p = light.p
    falloff = float(1.0)
    if light.kind == SPOT:
        falloff = spot_falloff(light, s.wi)
    s.radiance = light.emission.value * (falloff / d2)
    return s
