"""Lights: choosing one, sampling the direction to it, and the density with which that direction would have been chosen."""

import warp as wp

from nrc_tracer.device.constants import INV_2PI, INV_4PI
from nrc_tracer.tracer.accel.intersect import AccelHandles
from nrc_tracer.tracer.environment import (
    Environment,
    environment_pdf,
    environment_radiance,
    sample_environment,
)
from nrc_tracer.tracer.interaction import (
    HAS_UV,
    INWARD,
    POSITION_ERROR,
    SMOOTH,
    Interaction,
    Surfaces,
    interpolation_error,
    offset_origin,
    smooth_normal,
    sphere_uv,
)
from nrc_tracer.tracer.sampling import frame_from_normal, to_world, uniform_sphere
from nrc_tracer.tracer.textures import Param, Textures, evaluate_image
from nrc_tracer.tracer.vocabulary import LightKind

TRIANGLE = wp.constant(int(LightKind.TRIANGLE))
SPHERE = wp.constant(int(LightKind.SPHERE))
POINT = wp.constant(int(LightKind.POINT))
SPOT = wp.constant(int(LightKind.SPOT))
DIRECTIONAL = wp.constant(int(LightKind.DIRECTIONAL))
CONSTANT = wp.constant(int(LightKind.CONSTANT))
ENVIRONMENT = wp.constant(int(LightKind.ENVIRONMENT))

FAR = wp.constant(1.0e30)


@wp.struct
class LightRecord:
    """One light. `probability` is that of choosing it; `alias` and `threshold` are its cell of the alias table."""

    kind: int
    index: int  # triangle or sphere
    emission: Param  # radiance; intensity of point and spot lights; irradiance of directional ones
    p: wp.vec3
    d: wp.vec3
    cos_full: float
    cutoff: float  # spot: cutoff angle [rad]
    probability: float
    area_density: float  # probability over area
    threshold: float
    alias: int


@wp.struct
class Lights:
    """All lights of a scene. `background`: the light that rays which escape see, or -1."""

    records: wp.array[LightRecord]
    count: int
    background: int
    environment: Environment


@wp.struct
class LightSample:
    """A direction to a light. `radiance` over `pdf` [1/sr] is what arrives if nothing is in the way."""

    wi: wp.vec3
    radiance: wp.vec3
    pdf: float
    delta: int
    p: wp.vec3  # point on the light, moved off its surface; unused for distant lights
    distant: int


@wp.func
def choose_light(lights: Lights, u: wp.vec2) -> int:
    """Choose a light by its probability (Vose's alias method).

    Cell and threshold each take a number of their own: of one number scaled by many lights, few digits would be left.
    """
    i = wp.min(int(u[0] * float(lights.count)), lights.count - 1)
    record = lights.records[i]
    return wp.where(u[1] < record.threshold, i, record.alias)


@wp.func
def sphere_cone_cos(center: wp.vec3, radius: float, p: wp.vec3) -> float:
    """1 - cos of the half angle under which a sphere is seen from outside, without cancellation."""
    sin2 = wp.min(1.0, radius * radius / wp.length_sq(center - p))
    return sin2 / (1.0 + wp.sqrt(1.0 - sin2))


@wp.func
def sample_light(
    lights: Lights,
    surfaces: Surfaces,
    accel: AccelHandles,
    textures: Textures,
    p: wp.vec3,
    u_light: wp.vec2,
    u: wp.vec2,
) -> LightSample:
    """Choose a light and a direction from `p` to it; `pdf` 0: nothing arrives."""
    s = LightSample()
    chosen = choose_light(lights, u_light)
    light = lights.records[chosen]

    if light.kind == TRIANGLE:
        # Draw a point uniformly (Heitz, A Low-Distortion Map Between Triangle and Square, 2019)
        triangle = surfaces.triangles[light.index]
        b0 = 0.5 * u[0]
        b1 = u[1] - b0
        if u[0] >= u[1]:
            b1 = 0.5 * u[1]
            b0 = u[0] - b1
        b2 = 1.0 - b0 - b1
        q = triangle.p0 * b0 + triangle.p1 * b1 + triangle.p2 * b2
        n = triangle.n
        shape = surfaces.shapes[triangle.shape]
        corners = triangle.corners
        if (shape.flags & SMOOTH) != 0 and wp.dot(n, smooth_normal(surfaces, triangle, b0, b1, b2)) < 0.0:
            n = -n
        to_light = q - p
        d2 = wp.length_sq(to_light)
        if d2 == 0.0:
            return s
        s.wi = to_light / wp.sqrt(d2)
        cos_l = -wp.dot(n, s.wi)
        if cos_l <= 0.0:
            return s
        uv = wp.vec2(b1, b2)
        if (shape.flags & HAS_UV) != 0:
            first = shape.uv_offset
            uv = (
                surfaces.uvs[corners[0] + first] * b0
                + surfaces.uvs[corners[1] + first] * b1
                + surfaces.uvs[corners[2] + first] * b2
            )
        s.radiance = evaluate_image(textures, light.emission, uv)
        s.pdf = light.area_density * d2 / cos_l
        s.p = offset_origin(q, interpolation_error(triangle, b0, b1, b2), n, -s.wi)
        return s

    if light.kind == SPHERE:
        sphere = accel.spheres[light.index]
        from_p = p - sphere.center
        inward = (surfaces.shapes[sphere.shape].flags & INWARD) != 0
        outward = wp.vec3(0.0)
        if wp.length_sq(from_p) <= sphere.radius * sphere.radius * 1.0001:
            # Inside, or too near for the cone to make sense: draw a point uniformly
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
            s.pdf = light.area_density * d2 / cos_l
        else:
            if inward:
                return s
            # Draw a direction uniformly in the cone under which the sphere is seen
            one_minus_cos = sphere_cone_cos(sphere.center, sphere.radius, p)
            h = u[0] * one_minus_cos
            cos_theta = 1.0 - h
            sin_theta = wp.sqrt(wp.max(0.0, h * (2.0 - h)))
            phi = wp.TAU * u[1]
            distance = wp.length(from_p)
            axis = frame_from_normal(-from_p / distance)
            s.wi = to_world(axis, wp.vec3(sin_theta * wp.cos(phi), sin_theta * wp.sin(phi), cos_theta))
            s.pdf = light.probability * INV_2PI / one_minus_cos
            half_chord = wp.sqrt(
                wp.max(0.0, sphere.radius * sphere.radius - distance * distance * sin_theta * sin_theta)
            )
            outward = wp.normalize(from_p + s.wi * (distance * cos_theta - half_chord))
        uv = sphere_uv(sphere.orientation, outward)
        s.radiance = evaluate_image(textures, light.emission, uv)
        error = (wp.abs(sphere.center) + wp.abs(outward) * sphere.radius) * POSITION_ERROR
        s.p = offset_origin(sphere.center + outward * sphere.radius, error, outward, -s.wi)
        return s

    if light.kind == CONSTANT:
        s.wi = uniform_sphere(u)
        s.radiance = light.emission.value
        s.pdf = light.probability * INV_4PI
        s.distant = 1
        return s

    if light.kind == ENVIRONMENT:
        e = sample_environment(lights.environment, u)
        s.wi = e.wi
        s.radiance = e.radiance
        s.pdf = light.probability * e.pdf
        s.distant = 1
        return s

    s.delta = 1
    s.pdf = light.probability
    if light.kind == DIRECTIONAL:
        s.wi = -light.d
        s.radiance = light.emission.value
        s.distant = 1
        return s

    to_light = light.p - p
    d2 = wp.length_sq(to_light)
    if d2 == 0.0:
        s.pdf = 0.0
        return s
    s.wi = to_light / wp.sqrt(d2)
    s.p = light.p
    falloff = float(1.0)
    if light.kind == SPOT:
        cos_theta = -wp.dot(light.d, s.wi)
        if cos_theta < light.cos_full:
            full = wp.acos(light.cos_full)
            falloff = wp.max(
                0.0, (light.cutoff - wp.acos(wp.clamp(cos_theta, -1.0, 1.0))) / wp.max(light.cutoff - full, 1.0e-6)
            )
    s.radiance = light.emission.value * (falloff / d2)
    return s


@wp.func
def surface_emission(
    lights: Lights,
    surfaces: Surfaces,
    accel: AccelHandles,
    textures: Textures,
    it: Interaction,
    p: wp.vec3,
    wi: wp.vec3,
) -> wp.vec4:
    """Radiance that the light at `it` sends against `wi`, and the density [1/sr] of sampling `wi` from `p` by `sample_light`."""
    cos_l = -wp.dot(it.n, wi)
    if cos_l <= 0.0:
        return wp.vec4(0.0)
    light = lights.records[it.light]
    radiance = evaluate_image(textures, light.emission, it.uv)
    pdf = float(0.0)
    if light.kind == TRIANGLE:
        pdf = light.area_density * wp.length_sq(it.p - p) / cos_l
    else:
        sphere = accel.spheres[light.index]
        if wp.length_sq(p - sphere.center) <= sphere.radius * sphere.radius * 1.0001:
            pdf = light.area_density * wp.length_sq(it.p - p) / cos_l
        elif (surfaces.shapes[it.shape].flags & INWARD) == 0:
            pdf = light.probability * INV_2PI / sphere_cone_cos(sphere.center, sphere.radius, p)
    return wp.vec4(radiance[0], radiance[1], radiance[2], pdf)


@wp.func
def background_emission(lights: Lights, w: wp.vec3) -> wp.vec4:
    """Radiance of the background in direction `w`, and the density [1/sr] of sampling `w` by `sample_light`."""
    if lights.background < 0:
        return wp.vec4(0.0)
    light = lights.records[lights.background]
    radiance = light.emission.value
    pdf = INV_4PI
    if light.kind == ENVIRONMENT:
        radiance = environment_radiance(lights.environment, w)
        pdf = environment_pdf(lights.environment, w)
    return wp.vec4(radiance[0], radiance[1], radiance[2], pdf * light.probability)
