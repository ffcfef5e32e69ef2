"""Sampling any light, and the emission that rays meet with its density: the functions that the path tracers call."""

import warp as wp

from nrc_tracer.tracer.interaction import Interaction
from nrc_tracer.tracer.lights.distant import constant_pdf, sample_constant, sample_directional
from nrc_tracer.tracer.lights.environment import (
    environment_pdf,
    environment_radiance,
    environment_uv,
    sample_environment,
)
from nrc_tracer.tracer.lights.light import (
    CONSTANT,
    DIRECTIONAL,
    ENVIRONMENT,
    SPHERE,
    TRIANGLE,
    Lights,
    LightSample,
)
from nrc_tracer.tracer.lights.point import sample_point
from nrc_tracer.tracer.lights.sphere import sample_sphere, sphere_pdf
from nrc_tracer.tracer.lights.triangle import sample_triangle, triangle_pdf
from nrc_tracer.tracer.scene_record import SceneRecord
from nrc_tracer.tracer.textures import evaluate_image


@wp.func
def choose_light(lights: Lights, u: wp.vec2) -> int:
    """Choose a light by its probability (Vose's alias method).

    Cell and threshold each take a random number of their own: a single one, scaled by the number of lights, would have few
    digits left for the threshold.
    """
    i = wp.min(int(u[0] * float(lights.count)), lights.count - 1)
    record = lights.records[i]
    return wp.where(u[1] < record.threshold, i, record.alias)


@wp.func
def sample_light(scene: SceneRecord, p: wp.vec3, u_light: wp.vec2, u: wp.vec2) -> LightSample:
    """Choose a light and a direction from `p` to it."""
    light = scene.lights.records[choose_light(scene.lights, u_light)]
    if light.kind == TRIANGLE:
        return sample_triangle(scene, light, p, u)
    if light.kind == SPHERE:
        return sample_sphere(scene, light, p, u)
    if light.kind == CONSTANT:
        return sample_constant(light, u)
    if light.kind == ENVIRONMENT:
        return sample_environment(scene.lights.environment, light, u)
    if light.kind == DIRECTIONAL:
        return sample_directional(light)
    return sample_point(light, p)


@wp.func
def sampled_radiance(scene: SceneRecord, ls: LightSample) -> wp.vec3:
    """Radiance of a sample of a light. Reading an environment map costs cache misses, so ask only where the light is visible."""
    if ls.mapped != 0:
        return wp.cw_mul(ls.radiance, environment_radiance(scene.lights.environment, wp.vec2(ls.p[0], ls.p[1])))
    return ls.radiance


@wp.func
def surface_emission(scene: SceneRecord, it: Interaction, p: wp.vec3, wi: wp.vec3) -> wp.vec4:
    """Radiance that the light at `it` emits against `wi`, and the density [1/sr] with which `sample_light` draws `wi` at `p`."""
    cos_l = -wp.dot(it.n, wi)
    if cos_l <= 0.0:
        return wp.vec4(0.0)
    light = scene.lights.records[it.light]
    radiance = evaluate_image(scene.textures, light.emission, it.uv)
    pdf = float(0.0)
    if light.kind == TRIANGLE:
        pdf = triangle_pdf(light, p, it.p, cos_l)
    else:
        pdf = sphere_pdf(scene, light, p, it.p, cos_l)
    return wp.vec4(radiance[0], radiance[1], radiance[2], pdf)


@wp.func
def background_emission(scene: SceneRecord, w: wp.vec3) -> wp.vec4:
    """Radiance of the background in direction `w`, and the density [1/sr] with which `sample_light` draws `w`."""
    if scene.lights.background < 0:
        return wp.vec4(0.0)
    light = scene.lights.records[scene.lights.background]
    radiance = light.emission.value
    pdf = float(0.0)
    if light.kind == ENVIRONMENT:
        uv = environment_uv(scene.lights.environment, w)
        radiance = environment_radiance(scene.lights.environment, uv)
        pdf = environment_pdf(scene.lights.environment, light, uv)
    else:
        pdf = constant_pdf(light)
    return wp.vec4(radiance[0], radiance[1], radiance[2], pdf)
