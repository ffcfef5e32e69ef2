"""Lights that are infinitely far away and alike everywhere: directional lights and a constant background."""

import warp as wp

from nrc_tracer.device.constants import INV_4PI
from nrc_tracer.tracer.lights.light import LightRecord, LightSample
from nrc_tracer.tracer.sampling import uniform_sphere


@wp.func
def sample_directional(light: LightRecord) -> LightSample:
    """The direction to a directional light."""
    s = LightSample()
    s.wi = -light.d
    s.radiance = light.emission.value
    s.pdf = 1.0
    s.delta = 1
    s.distant = 1
    return s


@wp.func
def sample_constant(light: LightRecord, u: wp.vec2) -> LightSample:
    """Draw a direction uniformly over the sphere."""
    s = LightSample()
    s.wi = uniform_sphere(u)
    s.radiance = light.emission.value
    s.pdf = INV_4PI
    s.distant = 1
    return s
