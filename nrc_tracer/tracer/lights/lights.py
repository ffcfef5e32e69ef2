"""Sampling any light, and the emission that rays meet with its density: the functions that the path tracers call."""

import warp as wp

from nrc_tracer.device.constants import INV_4PI
from nrc_tracer.tracer.interaction import Interaction
from nrc_tracer.tracer.lights.distant import sample_constant, sample_directional
from nrc_tracer.tracer.lights.environment import (
    environment_pdf,
    environment_radiance,
    environment_uv,
    find_interval,
    sample_environment,
)
from nrc_tracer.tracer.lights.light import (
    CONSTANT,
    DIRECTIONAL,
    ENVIRONMENT,
    SPHERE,
    TRIANGLE,
    LightChoice,
    LightRecord,
    Lights,
    LightSample,
)
from nrc_tracer.tracer.lights.point import sample_point
from nrc_tracer.tracer.lights.sphere import sample_sphere, sphere_pdf
from nrc_tracer.tracer.lights.tree import choose_leaf, leaf_probability
from nrc_tracer.tracer.lights.triangle import sample_triangle, triangle_pdf
from nrc_tracer.tracer.scene_record import SceneRecord
from nrc_tracer.tracer.textures import evaluate_image

# Distance of two random numbers
STEP = wp.constant(wp.float64(2.0**-24))


@wp.func
def choose_light(lights: Lights, p: wp.vec3, n: wp.vec3, u: wp.vec2) -> LightChoice:
    """Choose a light that may light a point `p` on the side of the normal `n`, or on all sides if `n` is zero.

    The second random number supplies the digits that the choices leave over of the first one. Where there is no light, or the
    tree is chosen and none of its lights can light the point, the probability is 0.
    """
    choice = LightChoice()
    if lights.count == 0:
        return choice
    u_tree = wp.float64(u[0]) + wp.float64(u[1]) * STEP
    if lights.listed_count > 0:
        listed = lights.listed_cdf[lights.listed_count]
        if u[0] < listed:
            choice.index = lights.listed[find_interval(lights.listed_cdf, 0, lights.listed_count, u[0])]
            choice.probability = lights.records[choice.index].probability
            return choice
        rest = wp.float64(1.0) - wp.float64(listed)
        u_tree = wp.max(wp.float64(1.0) - (wp.float64(1.0) - u_tree) / rest, wp.float64(0.0))
    leaf = choose_leaf(lights.nodes, p, n, u_tree)
    if leaf.probability <= 0.0:
        return choice
    part = lights.records[leaf.light].part
    choice.index = leaf.light + wp.where(part >= 1.0 or leaf.rest < wp.float64(part), 0, 1)
    light = lights.records[choice.index]
    choice.probability = leaf.probability * light.part * light.probability
    return choice


@wp.func
def choice_probability(lights: Lights, light: LightRecord, p: wp.vec3, n: wp.vec3) -> float:
    """Probability with which `choose_light` chooses a light."""
    if light.part <= 0.0:
        return light.probability
    return leaf_probability(lights.nodes, light.trail, p, n) * light.part * light.probability


@wp.func
def sample_chosen(scene: SceneRecord, light: LightRecord, p: wp.vec3, u: wp.vec2) -> LightSample:
    """Draw a direction from `p` to a light."""
    if light.kind == TRIANGLE:
        return sample_triangle(scene, light, p, u)
    if light.kind == SPHERE:
        return sample_sphere(scene, light, p, u)
    if light.kind == CONSTANT:
        return sample_constant(light, u)
    if light.kind == ENVIRONMENT:
        return sample_environment(scene.lights.environment, u)
    if light.kind == DIRECTIONAL:
        return sample_directional(light)
    return sample_point(light, p)


@wp.func
def sample_light(scene: SceneRecord, p: wp.vec3, n: wp.vec3, u_light: wp.vec2, u: wp.vec2) -> LightSample:
    """Choose a light (see `choose_light`) and a direction from `p` to it."""
    choice = choose_light(scene.lights, p, n, u_light)
    if choice.probability <= 0.0:
        return LightSample()
    sample = sample_chosen(scene, scene.lights.records[choice.index], p, u)
    sample.pdf *= choice.probability
    return sample


@wp.func
def sampled_radiance(scene: SceneRecord, ls: LightSample) -> wp.vec3:
    """Radiance of a sample of a light. Reading an environment map costs cache misses, so ask only where the light is visible."""
    if ls.mapped != 0:
        return wp.cw_mul(ls.radiance, environment_radiance(scene.lights.environment, wp.vec2(ls.p[0], ls.p[1])))
    return ls.radiance


@wp.func
def surface_emission(
    scene: SceneRecord, it: Interaction, p: wp.vec3, n: wp.vec3, wi: wp.vec3, with_pdf: bool
) -> wp.vec4:
    """Radiance that the light at `it` emits against `wi`, and the density [1/sr] with which `sample_light` draws `wi` at `p`.

    Args:
        scene: The scene.
        it: The point on the light.
        p: The point that is lit.
        n: Normal of its lit side, as given to `sample_light`.
        wi: Unit direction from `p` to the light.
        with_pdf: Whether the density is asked for; else it is 0.
    """
    cos_l = -wp.dot(it.n, wi)
    if cos_l <= 0.0:
        return wp.vec4(0.0)
    light = scene.lights.records[it.light]
    radiance = evaluate_image(scene.textures, light.emission, it.uv)
    pdf = float(0.0)
    if with_pdf:
        if light.kind == TRIANGLE:
            pdf = triangle_pdf(light, p, it.p, cos_l)
        else:
            pdf = sphere_pdf(scene, light, p, it.p, cos_l)
        pdf *= choice_probability(scene.lights, light, p, n)
    return wp.vec4(radiance[0], radiance[1], radiance[2], pdf)


@wp.func
def background_emission(scene: SceneRecord, w: wp.vec3) -> wp.vec4:
    """Radiance of the background in direction `w`, and the density [1/sr] with which `sample_light` draws `w`."""
    if scene.lights.background < 0:
        return wp.vec4(0.0)
    light = scene.lights.records[scene.lights.background]
    radiance = light.emission.value
    pdf = float(INV_4PI)
    if light.kind == ENVIRONMENT:
        uv = environment_uv(scene.lights.environment, w)
        radiance = environment_radiance(scene.lights.environment, uv)
        pdf = environment_pdf(scene.lights.environment, uv)
    return wp.vec4(radiance[0], radiance[1], radiance[2], pdf * light.probability)
