"""Analytic spheres that emit light: a direction is drawn uniformly in the cone under which the sphere is seen."""

import warp as wp

from nrc_tracer.device.constants import INV_2PI
from nrc_tracer.tracer.accel.intersect import SphereRecord
from nrc_tracer.tracer.interaction import DISTANCE_ERROR, INWARD, POSITION_ERROR, offset_origin, sphere_uv
from nrc_tracer.tracer.lights.light import LightRecord, LightSample, area_pdf
from nrc_tracer.tracer.sampling import frame_from_normal, to_world, uniform_sphere
from nrc_tracer.tracer.scene_record import SceneRecord
from nrc_tracer.tracer.textures import evaluate_image


@wp.func
def has_cone(sphere: SphereRecord, p: wp.vec3) -> bool:
    """Whether `p` is outside of the sphere, and not so near to it that the cone loses its digits."""
    return wp.length_sq(p - sphere.center) > sphere.radius * sphere.radius * 1.0001


@wp.func
def one_minus_cone_cos(sphere: SphereRecord, p: wp.vec3) -> float:
    """1 - cos of the half angle under which a sphere is seen from outside, without cancellation."""
    sin2 = wp.min(1.0, sphere.radius * sphere.radius / wp.length_sq(sphere.center - p))
    return sin2 / (1.0 + wp.sqrt(1.0 - sin2))


@wp.func
def sample_sphere(scene: SceneRecord, light: LightRecord, p: wp.vec3, u: wp.vec2) -> LightSample:
    """Draw a direction within the cone; from inside the sphere, or close to it, a point of its surface."""
    s = LightSample()
    sphere = scene.accel.spheres[light.index]
    from_p = p - sphere.center
    inward = (scene.surfaces.shapes[sphere.shape].flags & INWARD) != 0
    outward = wp.vec3(0.0)
    if has_cone(sphere, p):
        if inward:
            return s
        one_minus_cos = one_minus_cone_cos(sphere, p)
        h = u[0] * one_minus_cos
        cos_theta = 1.0 - h
        sin_theta = wp.sqrt(wp.max(0.0, h * (2.0 - h)))
        phi = wp.TAU * u[1]
        distance = wp.length(from_p)
        axis = frame_from_normal(-from_p / distance)
        s.wi = to_world(axis, wp.vec3(sin_theta * wp.cos(phi), sin_theta * wp.sin(phi), cos_theta))
        s.pdf = INV_2PI / one_minus_cos
        half_chord = wp.sqrt(wp.max(0.0, sphere.radius * sphere.radius - distance * distance * sin_theta * sin_theta))
        outward = wp.normalize(from_p + s.wi * (distance * cos_theta - half_chord))
    else:
        outward = uniform_sphere(u)
        to_light = outward * sphere.radius - from_p
        d2 = wp.length_sq(to_light)
        if d2 == 0.0:
            return s
        s.wi = to_light / wp.sqrt(d2)
        cos_l = -wp.dot(outward, s.wi)
        if inward:
            cos_l = -cos_l
        if cos_l <= 0.0:
            return s
        s.pdf = area_pdf(light, d2, cos_l)
    uv = sphere_uv(sphere.orientation, outward)
    s.radiance = evaluate_image(scene.textures, light.emission, uv)
    error = (wp.abs(sphere.center) + wp.abs(outward) * sphere.radius) * POSITION_ERROR
    error += wp.vec3(wp.length(from_p) * DISTANCE_ERROR)
    s.p = offset_origin(sphere.center + outward * sphere.radius, error, outward, -s.wi)
    return s


@wp.func
def sphere_pdf(scene: SceneRecord, light: LightRecord, p: wp.vec3, q: wp.vec3, cos_l: float) -> float:
    """Density [1/sr] with which `sample_sphere` draws the direction from `p` to the point `q` of the sphere."""
    sphere = scene.accel.spheres[light.index]
    if not has_cone(sphere, p):
        return area_pdf(light, wp.length_sq(q - p), cos_l)
    if (scene.surfaces.shapes[sphere.shape].flags & INWARD) != 0:
        return 0.0
    return INV_2PI / one_minus_cone_cos(sphere, p)
